// Command certmanager runs cert-manager's own controllers for tests: the product's certificates are
// then signed by the real code. It is not cert-manager's release: its webhook, its ACME and Vault
// issuers and its leader election are omitted. Invariant: what it signs, approves and refuses is
// decided by cert-manager's code alone.
//
//	certmanager [--kubeconfig FILE] [--cluster-resource-namespace NAME] [--approver=false]
//	certmanager crds
//
// The first form runs until SIGTERM or SIGINT. It opens no port and takes no lease; without
// --kubeconfig it uses the pod's ServiceAccount. The second prints the CustomResourceDefinitions,
// which must be applied first, and needs no cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"golang.org/x/sync/errgroup"

	// A controller and an issuer register themselves when they are imported.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// workers is how many objects each controller works on at once, as in cert-manager's release.
const workers = 5

// crdsFile lies beside the program: the build script copies it out of the same module version.
const crdsFile = "crds.yaml"

// settings holds the values of the flags.
type settings struct {
	kubeconfig               string
	clusterResourceNamespace string
	approver                 bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "certmanager:", err)
		os.Exit(1)
	}
}

// run executes the command line.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 1 && args[0] == "crds" {
		return printCRDs(out)
	}
	var s settings
	flags := flag.NewFlagSet("certmanager", flag.ContinueOnError)
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "the cluster's kubeconfig; empty means the one this pod runs in")
	flags.StringVar(&s.clusterResourceNamespace, "cluster-resource-namespace", "cert-manager", "the namespace of the Secrets of ClusterIssuers")
	flags.BoolVar(&s.approver, "approver", true, "approve every request; false leaves that to somebody else")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: want flags, or crds alone", flags.Arg(0))
	}
	return control(ctx, s)
}

// control runs the controllers until ctx ends or one of them fails.
func control(ctx context.Context, s settings) error {
	factory, err := controller.NewContextFactory(logs.NewContext(ctx, logs.Log), options(s))
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	built, err := factory.Build()
	if err != nil {
		return fmt.Errorf("build clients: %w", err)
	}
	group, ctx := errgroup.WithContext(logs.NewContext(ctx, logs.Log))
	var loops []controller.Interface
	for name, construct := range controller.Known() {
		if name == approver.ControllerName && !s.approver {
			continue
		}
		loop, err := construct(factory)
		if err != nil {
			return fmt.Errorf("construct %s: %w", name, err)
		}
		loops = append(loops, loop)
	}
	// This comes last: a factory starts the informers that the constructors have requested.
	built.SharedInformerFactory.Start(ctx.Done())
	built.KubeSharedInformerFactory.Start(ctx.Done())
	built.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	for _, loop := range loops {
		group.Go(func() error { return loop.Run(workers, ctx) })
	}
	return group.Wait()
}

// options are those of cert-manager's release where they matter. The rate limit is for API servers
// that do not limit by themselves.
func options(s settings) controller.ContextOptions {
	return controller.ContextOptions{
		Kubeconfig:         s.kubeconfig,
		KubernetesAPIQPS:   100,
		KubernetesAPIBurst: 200,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: s.clusterResourceNamespace},
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
}

// printCRDs copies the file beside the program to out.
func printCRDs(out io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	crds, err := os.ReadFile(filepath.Join(filepath.Dir(program), crdsFile))
	if err != nil {
		return fmt.Errorf("read the definitions: %w (scripts/certmanager.sh puts them there)", err)
	}
	_, err = out.Write(crds)
	return err
}
