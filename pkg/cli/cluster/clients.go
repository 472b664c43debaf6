package cluster

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// reachable limits how long an API server may take to return its version before it counts as unreachable.
const reachable = 10 * time.Second

// Clients are the clients for one cluster.
type Clients struct {
	Kube      kubernetes.Interface
	Metadata  metadata.Interface
	Dynamic   dynamic.Interface
	Discovery discovery.DiscoveryInterface
	Config    *rest.Config
}

// NewClients reads getter's kubeconfig. It does not connect to the cluster.
func NewClients(getter genericclioptions.RESTClientGetter) (*Clients, error) {
	config, err := getter.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the Kubernetes configuration: %w; name a kubeconfig with --kubeconfig or in $KUBECONFIG", err)
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return straight{rt} })
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return &Clients{Kube: kube, Metadata: meta, Dynamic: untyped, Discovery: kube.Discovery(), Config: config}, nil
}

// ServerVersion asks the API server for its version, the cheapest request that shows that it is
// reachable.
func (c *Clients) ServerVersion(ctx context.Context) (*version.Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, reachable, fmt.Errorf("no answer within %s", reachable))
	defer cancel()
	type answer struct {
		info *version.Info
		err  error
	}
	// The discovery client takes no context.
	answers := make(chan answer, 1)
	go func() {
		info, err := c.Discovery.ServerVersion()
		answers <- answer{info, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("cannot reach the Kubernetes API server at %s: %w; check --kubeconfig, --context and the network", c.Config.Host, a.err)
		}
		return a.info, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot reach the Kubernetes API server at %s: %w; check --kubeconfig, --context and the network", c.Config.Host, context.Cause(ctx))
	}
}
