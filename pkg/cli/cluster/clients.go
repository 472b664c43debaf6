package cluster

import (
	"fmt"
	"net/http"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Clients are the clients for one cluster.
type Clients struct {
	Kube      kubernetes.Interface
	Metadata  metadata.Interface
	Dynamic   dynamic.Interface
	Discovery discovery.DiscoveryInterface
	Config    *rest.Config
	// Source names the context and the kubeconfig that lead to the cluster, or is "" if something else does.
	Source string
	// Namespace is that of the context, or else default.
	Namespace string
}

// NewClients reads the kubeconfig that the flags name. It does not connect to the cluster.
func NewClients(flags *genericclioptions.ConfigFlags) (*Clients, error) {
	config, source, err := readConfig(flags)
	if err != nil {
		return nil, err
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the namespace of %s: %w", source, err)
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
	return &Clients{Kube: kube, Metadata: meta, Dynamic: untyped, Discovery: kube.Discovery(), Config: config, Source: source, Namespace: namespace}, nil
}
