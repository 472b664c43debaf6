// Package command is the command line of the control-plane image: controller, injector, bootstrap
// and redirect, one subcommand a process.
//
// It turns flags into the processes' Config structs and runs them; it has no behaviour of its own.
// Its invariant: every flag's default is what holds inside a cluster, so that in the chart only
// differences are written.
package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/controller"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// Requests per second and burst to the API server: the priority levels of the API server are the
// real limit, and a controller that syncs thousands of objects must not wait for its own client.
const (
	clientQPS   = 100
	clientBurst = 200
)

// shared are the flags of every process that talks to the API server.
type shared struct {
	kubeconfig, mesh, namespace, trustDomain, clusterDomain, caSecret, logLevel string

	level *serve.LogLevel // of the logger, once there is one
}

func (s *shared) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "path of a kubeconfig file (default: the pod's own ServiceAccount)")
	flags.StringVar(&s.mesh, "mesh-name", api.DefaultMeshName, "name of the mesh")
	flags.StringVar(&s.namespace, "osm-namespace", api.DefaultNamespace, "namespace of the control plane")
	flags.StringVar(&s.trustDomain, "trust-domain", api.DefaultDomain, "SPIFFE trust domain of the mesh")
	flags.StringVar(&s.clusterDomain, "cluster-domain", "", "DNS domain of the cluster (default: the one in the search list of /etc/resolv.conf, else "+api.DefaultDomain+")")
	flags.StringVar(&s.caSecret, "ca-bundle-secret-name", api.CABundleSecret, "Secret in --osm-namespace that holds the root CA")
	flags.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error, unless the MeshConfig says otherwise")
}

func (s *shared) rest() (*rest.Config, error) {
	config, err := s.load()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = clientQPS, clientBurst
	kube.BoundDial(config)
	// Protobuf for built-in kinds: a third of the work and garbage of JSON.
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	return config, nil
}

func (s *shared) load() (*rest.Config, error) {
	if s.kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server: %w: outside a cluster use --kubeconfig", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read --kubeconfig %s: %w", s.kubeconfig, err)
	}
	return config, nil
}

// logger writes JSON lines.
func (s *shared) logger(to io.Writer) (*slog.Logger, error) {
	level, err := serve.NewLogLevel(s.logLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	s.level = level
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level})), nil
}

// New returns the root command.
func New(version serve.Version) *cobra.Command {
	root := &cobra.Command{
		Use:           "osm-controlplane",
		Short:         "The processes of the osm control plane",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       strings.TrimSpace(version.Version + " " + version.GitCommit),
	}
	root.AddCommand(newController(version), newInjector(version), newBootstrap(), newRedirect())
	return root
}

func newController(version serve.Version) *cobra.Command {
	var s shared
	cfg := controller.Config{Version: version}
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve configuration and certificates to the mesh's proxies",
		Example: `  # in a cluster, as the chart does
  osm-controlplane controller --mesh-name osm --osm-namespace osm-system

  # outside, on any API server that bootstrap has prepared
  osm-controlplane controller --kubeconfig ~/.kube/config --xds-address 127.0.0.1:15128`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, func(ctx context.Context, config *rest.Config, log *slog.Logger) error {
				cfg.REST, cfg.Log, cfg.Level = config, log, s.level
				cfg.MeshName, cfg.Namespace = s.mesh, s.namespace
				cfg.TrustDomain, cfg.Provider.Tresor.Secret = identity.TrustDomain(s.trustDomain), s.caSecret
				dns, err := s.dns()
				if err != nil {
					return err
				}
				cfg.ClusterDomain = dns.domain
				return controller.Run(ctx, cfg)
			})
		},
	}
	s.bind(cmd)
	cfg.Provider.Bind(cmd.Flags())
	cfg.Limits.Bind(cmd.Flags())
	cfg.Rebalance.Bind(cmd.Flags())
	cmd.Flags().StringVar(&cfg.XDSAddress, "xds-address", fmt.Sprintf(":%d", api.PortXDS), "address for proxies (ADS over mTLS)")
	cmd.Flags().StringVar(&cfg.HTTPAddress, "http-address", fmt.Sprintf(":%d", api.PortHTTP), "address for /livez, /readyz, /metrics and /version")
	cmd.Flags().StringVar(&cfg.DebugAddress, "debug-address", fmt.Sprintf("127.0.0.1:%d", api.PortDebug), "loopback address for /debug/xds, /debug/rotation and /debug/pprof; empty for none")
	cmd.Flags().StringVar(&cfg.EvidenceAddress, "evidence-address", "", fmt.Sprintf("address where the leader asks for this replica's evidence during a root rotation, such as :%d (mutual TLS); empty for none", api.PortEvidence))
	cmd.Flags().DurationVar(&cfg.SecretDelivery, "secret-delivery", 3*time.Minute, "time for a changed Secret to reach running pods; each phase of a rotation waits that long")
	cmd.Flags().DurationVar(&cfg.DrainPeriod, "drain-period", 20*time.Second, "time to send proxies to other replicas after SIGTERM (5s to 5m)")
	limits := mesh.Limits{}.WithDefaults()
	cmd.Flags().DurationVar(&cfg.Sidecars.Handshake, "sidecar-handshake-timeout", limits.Handshake, "time that a peer of a sidecar has for its TLS handshake, 1s or more")
	cmd.Flags().DurationVar(&cfg.Sidecars.RequestHeaders, "sidecar-request-headers-timeout", limits.RequestHeaders, "time that a peer of a sidecar has for a request's headers, 1s or more")
	cmd.Flags().DurationVar(&cfg.Sidecars.StreamIdle, "sidecar-stream-idle-timeout", limits.StreamIdle, "how long a request or response of a sidecar's peer may be idle, 1m or more")
	cmd.Flags().Uint32Var(&cfg.Sidecars.Streams, "sidecar-max-streams", limits.Streams, "concurrent requests on one HTTP/2 connection to a sidecar, 16 or more")
	return cmd
}

// run gives a process its logger and its connection to the API server.
func (s *shared) run(cmd *cobra.Command, process func(context.Context, *rest.Config, *slog.Logger) error) error {
	log, err := s.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	serve.LeaveHeadroom()
	// client-go logs through klog, which can only be configured for the whole process.
	klog.SetSlogLogger(log)
	if err := kube.CheckConnections(); err != nil {
		return fmt.Errorf("bound the time in which lost connections to the API server are noticed: %w", err)
	}
	config, err := s.rest()
	if err != nil {
		return err
	}
	return process(cmd.Context(), config, log)
}

func newBootstrap() *cobra.Command {
	var s shared
	var cfg bootstrap.Config
	cmd := &cobra.Command{
		Use:     "bootstrap",
		Short:   "Apply the mesh's CustomResourceDefinitions and its default MeshConfig",
		Example: "  osm-controlplane bootstrap --kubeconfig ~/.kube/config --mesh-name osm --osm-namespace osm-system",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, func(ctx context.Context, config *rest.Config, log *slog.Logger) error {
				cfg.REST, cfg.Logger, cfg.Namespace = config, log, s.namespace
				return bootstrap.Run(ctx, cfg)
			})
		},
	}
	s.bind(cmd)
	cmd.Flags().StringVar(&cfg.PresetFile, "preset", "", "JSON file with the spec of the default MeshConfig (default: built in)")
	cmd.Flags().DurationVar(&cfg.Timeout, "timeout", bootstrap.DefaultTimeout, "how long to try")
	return cmd
}

func newRedirect() *cobra.Command {
	rules := redirect.Default()
	cmd := &cobra.Command{
		Use:     "redirect",
		Short:   "Redirect the pod's TCP traffic to its proxy (the init container of injected pods)",
		Example: "  osm-controlplane redirect --exclude-outbound-ports 3306,5432",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return redirect.Apply(rules) },
	}
	rules.BindFlags(cmd.Flags())
	return cmd
}
