package injector

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Settings are what Patch needs to know besides the pod and its namespace.
type Settings struct {
	// MeshName is the mesh whose pods are injected, Namespace the mesh's own; both are required.
	MeshName, Namespace string
	// TrustDomain is part of the control plane's SPIFFE id; empty means cluster.local.
	TrustDomain identity.TrustDomain
	// ClusterDomain ends the control plane's DNS name; empty means cluster.local.
	ClusterDomain string
	// ClusterDNS are the cluster's DNS servers, for sidecars of pods that use others; none if they are not known.
	ClusterDNS []netip.Addr
	// SidecarImage is Envoy's, unless MeshConfig names one; InitImage is the control plane's. Required.
	SidecarImage, InitImage string
	// PullPolicy of both images; empty means IfNotPresent.
	PullPolicy corev1.PullPolicy
	// PullSecrets of both images, in the pods' namespaces.
	PullSecrets []string
	// PlainContainer makes Envoy an ordinary container instead of a native sidecar, for clusters
	// that have none. Init containers of such pods run without the mesh.
	PlainContainer bool
	// Limits of a pod; Patch reads Containers and Probes.
	Limits Limits
	// SidecarMemory is the memory limit of sidecars, unless MeshConfig sets resources; zero is DefaultSidecarMemory.
	SidecarMemory resource.Quantity
	// SidecarConnections bounds the connections that a sidecar has at a time, in both directions;
	// zero is DefaultSidecarConnections.
	SidecarConnections int
	// Mesh is the MeshConfig's spec; the zero value has no exclusions and Envoy's defaults.
	Mesh v1alpha2.MeshConfigSpec
}

// Validate reports everything that is wrong with s, joined. The MeshConfig is not part of it: the
// API server checks its values, and Patch those that it cannot check.
func (s Settings) Validate() error {
	var errs []error
	required := map[string]string{
		"--mesh-name": s.MeshName, "--osm-namespace": s.Namespace,
		"--sidecar-image": s.SidecarImage, "--init-image": s.InitImage,
	}
	for flag, value := range required {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is empty: it is required", flag))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	policies := []corev1.PullPolicy{"", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}
	if !slices.Contains(policies, s.PullPolicy) {
		errs = append(errs, fmt.Errorf("--image-pull-policy %q: want Always, IfNotPresent or Never", s.PullPolicy))
	}
	for _, name := range s.PullSecrets {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			errs = append(errs, fmt.Errorf("--image-pull-secrets contains %q: want names of Secrets", name))
		}
	}
	if !s.SidecarMemory.IsZero() && s.SidecarMemory.Cmp(resource.MustParse(leastSidecarMemory)) < 0 {
		errs = append(errs, fmt.Errorf("--sidecar-memory-limit %s: want %s or more", s.SidecarMemory.String(), leastSidecarMemory))
	}
	if s.SidecarConnections < 0 {
		errs = append(errs, fmt.Errorf("--sidecar-max-connections %d: want more than 0", s.SidecarConnections))
	}
	return errors.Join(append(errs, s.Limits.Validate())...)
}

const (
	// DefaultSidecarMemory has room for the configuration of about 5000 Services and some thousand connections.
	DefaultSidecarMemory = "1Gi"
	// DefaultSidecarConnections is for both directions together.
	DefaultSidecarConnections = 10000

	// leastSidecarMemory is what Envoy takes with the configuration of a small mesh.
	leastSidecarMemory = "64Mi"
)

func (s Settings) connections() int64 {
	return int64(cmp.Or(s.SidecarConnections, DefaultSidecarConnections))
}

func (s Settings) trustDomain() identity.TrustDomain { return cmp.Or(s.TrustDomain, api.DefaultDomain) }

// resolvers are the DNS servers for the sidecar of a pod; none are the pod's own. A pod with the policies None
// and Default uses servers that need not know the cluster's names, and its sidecar would wait for its
// configuration forever.
func (s Settings) resolvers(pod *corev1.Pod) ([]netip.Addr, error) {
	switch policy := pod.Spec.DNSPolicy; policy {
	case corev1.DNSNone, corev1.DNSDefault:
		if len(s.ClusterDNS) == 0 {
			return nil, fmt.Errorf("with dnsPolicy %s the sidecar could not find the control plane, because the injector does not know the cluster's DNS servers (it is not a pod with dnsPolicy ClusterFirst itself): set dnsPolicy to ClusterFirst, with dnsConfig for what the pod needs besides%s", policy, optOut)
		}
		return s.ClusterDNS, nil
	default:
		return nil, nil
	}
}

// controllerName is the DNS name of the control plane's Service.
func (s Settings) controllerName() string {
	return fmt.Sprintf("%s.%s.svc.%s", api.AppController, s.Namespace, cmp.Or(s.ClusterDomain, api.DefaultDomain))
}

func (s Settings) sidecarImage() string { return cmp.Or(s.Mesh.Sidecar.EnvoyImage, s.SidecarImage) }

func (s Settings) pullPolicy() corev1.PullPolicy {
	return cmp.Or(s.PullPolicy, corev1.PullIfNotPresent)
}
