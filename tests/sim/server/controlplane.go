package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// preset is the MeshConfig of the simulated mesh: in permissive mode every workload may reach every
// service; nothing outside in either mode.
const preset = `{
	"sidecar": {"localProxyMode": "Localhost", "logLevel": "error"},
	"traffic": {"enableEgress": false, "enablePermissiveTrafficPolicyMode": %t},
	"certificate": {"serviceCertValidityDuration": "24h"}
}`

// memoryLimit is what the chart gives a controller: its container's limit, 1 GiB by default.
const memoryLimit = "GOMEMLIMIT=1GiB"

// Bootstrap installs the mesh's CRDs and MeshConfig as the chart's hook does.
func (c *Cluster) Bootstrap(ctx context.Context, programs Programs, permissive bool) error {
	file := filepath.Join(c.dir, "preset.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, preset, permissive), 0o600); err != nil {
		return fmt.Errorf("write the mesh's preset: %w", err)
	}
	cmd := exec.CommandContext(ctx, programs.ControlPlane, "bootstrap", "--kubeconfig", c.Kubeconfig,
		"--osm-namespace", api.DefaultNamespace, "--preset", file, "--log-level", "warn")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("bootstrap the mesh: %w:\n%s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// Replica is one osm-controller.
type Replica struct {
	*Process
	// XDS is the address for proxies.
	XDS string
	// Debug is the debug address (/debug/pprof), "" if there is none.
	Debug string

	http string
}

// StartReplica starts an osm-controller and returns before it is ready. Its addresses are those of
// again if it is not nil: the replica comes back at the same address.
func (c *Cluster) StartReplica(programs Programs, name string, again *Replica) (*Replica, error) {
	r := &Replica{}
	if again != nil {
		r.XDS, r.Debug, r.http = again.XDS, again.Debug, again.http
	} else if err := r.choose(programs); err != nil {
		return nil, err
	}
	argv := []string{
		"env", memoryLimit, // which becomes the controller, under the same pid
	}
	argv = append(argv, programs.Env...)
	argv = append(argv,
		programs.ControlPlane, "controller", "--kubeconfig", c.Kubeconfig,
		"--osm-namespace", api.DefaultNamespace, "--xds-address", r.XDS, "--http-address", r.http, "--log-level", "warn")
	if r.Debug != "" {
		argv = append(argv, "--debug-address", r.Debug)
	}
	var err error
	if r.Process, err = Start(name, c.dir, argv...); err != nil {
		return nil, err
	}
	return r, nil
}

// choose finds free addresses.
func (r *Replica) choose(programs Programs) error {
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	r.XDS, r.http = at(0), at(1)
	if programs.debugs() {
		r.Debug = at(2)
	}
	return nil
}

// Ready waits until the replica is ready.
func (r *Replica) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	return r.await(ctx, "osm-controller", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+r.http+"/readyz")
		return err
	})
}

// Usage returns the kernel's accounting of the replica.
func (r *Replica) Usage() (Usage, error) { return UsageOf(r.PID()) }

// Metrics scrapes the replica.
func (r *Replica) Metrics(ctx context.Context) (Metrics, error) {
	return scrape(ctx, "http://"+r.http+"/metrics")
}

// Root reads the mesh's root, which the first replica creates.
func (c *Cluster) Root(ctx context.Context) (*Authority, error) {
	client, err := kubernetes.NewForConfig(c.REST)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	secret, err := client.CoreV1().Secrets(api.DefaultNamespace).Get(ctx, api.CABundleSecret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the mesh's root: %w", err)
	}
	return LoadAuthority(secret.Data[api.CAKeyCert], secret.Data[api.CAKeyPrivate])
}

// ProxyTLS is the TLS configuration of the proxies of one ServiceAccount, as their bootstrap has it:
// TLS 1.3, Envoy's curves, and only the control plane is accepted.
func ProxyTLS(root *Authority, namespace, account string) (*tls.Config, error) {
	cert, err := root.Client("spiffe://" + api.DefaultDomain + "/ns/" + namespace + "/sa/" + account)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s/%s: %w", namespace, account, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		RootCAs:          root.Pool(), Certificates: []tls.Certificate{cert},
		ServerName: api.AppController + "." + api.DefaultNamespace + ".svc",
	}, nil
}

// Grace is how long a process may take to shut down.
const Grace = 30 * time.Second
