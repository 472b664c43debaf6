// Package api holds the names that osm shares with its users and between its own processes:
// labels, annotations, object names, ports and the certificate's place in a pod.
//
// It is vocabulary only: no client, no behaviour beyond deriving one name from another. Its
// invariant: a name that two processes must agree on is written here and nowhere else. Names
// that OSM had keep OSM's spelling, so that its users' namespaces and manifests work unchanged.
package api

import (
	"crypto/sha256"
	"encoding/hex"
)

// Labels and annotations on users' objects.
const (
	// LabelMonitoredBy on a namespace names the mesh that the namespace is a member of.
	LabelMonitoredBy = "openservicemesh.io/monitored-by"
	// LabelIgnore on a namespace, set to "true", keeps every mesh away from it.
	LabelIgnore = "openservicemesh.io/ignore"
	// LabelProxyUUID on a pod marks it as injected; the value is unique per pod.
	LabelProxyUUID = "osm-proxy-uuid"
	// LabelProxyCertificate on a Secret marks it as a proxy's client certificate; the value is the mesh's name.
	LabelProxyCertificate = "openservicemesh.io/proxy-certificate"

	// LabelInjectorCertificate marks the Secret InjectorCertificateSecret; the value is the mesh's name.
	LabelInjectorCertificate = "openservicemesh.io/injector-certificate"

	// AnnotationInjection on a namespace or a pod: enabled|yes|true or disabled|no|false.
	AnnotationInjection = "openservicemesh.io/sidecar-injection"
	// AnnotationOriginalHandlers on an injected pod keeps what its probes and lifecycle hooks asked before they were
	// moved to the proxy, for the next injection of the same pod.
	AnnotationOriginalHandlers = "openservicemesh.io/original-handlers"

	// AnnotationMetrics on a namespace, "enabled", makes its pods' proxies scrapable.
	AnnotationMetrics = "openservicemesh.io/metrics"
	// AnnotationInboundPortExclusion on a pod: comma-separated ports that bypass the proxy on the way in.
	AnnotationInboundPortExclusion = "openservicemesh.io/inbound-port-exclusion-list"
	// AnnotationOutboundPortExclusion on a pod: comma-separated ports that bypass the proxy on the way out.
	AnnotationOutboundPortExclusion = "openservicemesh.io/outbound-port-exclusion-list"
	// AnnotationOutboundIPRangeExclusion on a pod: comma-separated CIDRs that bypass the proxy.
	AnnotationOutboundIPRangeExclusion = "openservicemesh.io/outbound-ip-range-exclusion-list"
	// AnnotationOutboundIPRangeInclusion on a pod: when set, only these CIDRs go through the proxy.
	AnnotationOutboundIPRangeInclusion = "openservicemesh.io/outbound-ip-range-inclusion-list"
)

// Labels on the mesh's own objects.
const (
	LabelApp        = "app"
	LabelName       = "app.kubernetes.io/name"
	LabelInstance   = "app.kubernetes.io/instance"
	LabelVersion    = "app.kubernetes.io/version"
	LabelMeshName   = "meshName"
	LabelEnforceOne = "enforceSingleMesh"
	NameValue       = "openservicemesh.io"
	AppController   = "osm-controller"
	AppInjector     = "osm-injector"
	AppBootstrap    = "osm-bootstrap"
	MeshConfigName  = "osm-mesh-config"
	CABundleSecret  = "osm-ca-bundle"
	// InjectorCertificateSecret holds the serving certificate of the webhook, written by the controllers.
	InjectorCertificateSecret = "osm-injector-certificate"

	CAKeyCert         = "ca.crt"
	CAKeyPrivate      = "private.key"
	DefaultMeshName   = "osm"
	DefaultNamespace  = "osm-system"
	DefaultDomain     = "cluster.local"
	WebhookNamePrefix = "osm-webhook-"
	WebhookName       = "osm-inject.k8s.io"
	ControllerLease   = "osm-controller"
)

// LabelMeshNamespace on every object of the chart names the namespace of the mesh that
// LabelInstance names: two meshes may have the same name.
const LabelMeshNamespace = "openservicemesh.io/mesh-namespace"

// Ports of the control plane.
const (
	PortXDS   = 15128
	PortHTTP  = 9091
	PortDebug = 9092 // loopback only
	// PortEvidence is where the leader collects the evidence that a rotation of the root waits for.
	PortEvidence = 9093
	PortWebhook  = 9090
)

// Ports of an injected pod. All but the admin port listen on every address of the pod.
const (
	PortEnvoyAdmin      = 15000 // loopback only
	PortEnvoyOutbound   = 15001
	PortEnvoyInbound    = 15003
	PortEnvoyMetrics    = 15010
	PortLivenessProbe   = 15901
	PortReadinessProbe  = 15902
	PortStartupProbe    = 15903
	PortLifecycleHooks  = 15904
	PortEnvoyReadyProbe = 15905
)

// ServedByProxy reports whether the proxy itself answers on a port of an injected pod, in plain HTTP: the redirect
// does not change it, and mTLS would find no peer.
func ServedByProxy(port uint16) bool {
	switch port {
	case PortEnvoyMetrics, PortLivenessProbe, PortReadinessProbe, PortStartupProbe, PortEnvoyReadyProbe:
		return true
	}
	return false
}

// ProxyUID is the user that Envoy runs as; its own traffic is not redirected.
const ProxyUID = 1500

// InboundBind is the loopback address that Envoy binds to when it hands a connection to the
// application at the pod's own address, so that the redirect does not treat it as a peer's connection.
const InboundBind = "127.0.0.6"

// Container names in an injected pod.
const (
	ContainerEnvoy = "envoy"
	ContainerInit  = "osm-init"
)

// A proxy's client certificate: the Secret osm-proxy-<service account>, mounted at ProxyCertDir.
// ProxySDSCert and ProxySDSTrust are Envoy SDS files in the same directory that point at the PEM
// files beside them, so that Envoy re-reads all of them when the kubelet swaps the directory.
const (
	ProxyCertDir     = "/etc/osm/proxy"
	ProxyCertFile    = "tls.crt"
	ProxyKeyFile     = "tls.key"
	ProxyTrustFile   = "ca.crt"
	ProxySDSCert     = "sds-cert.yaml"
	ProxySDSTrust    = "sds-trust.yaml"
	proxySecretStart = "osm-proxy-"
	maxObjectName    = 253
)

// ProxySecretName is the name of the Secret that holds the xDS client certificate of the proxies
// of one ServiceAccount. A name that would be too long for Kubernetes ends in a hash instead.
func ProxySecretName(serviceAccount string) string {
	name := proxySecretStart + serviceAccount
	if len(name) <= maxObjectName {
		return name
	}
	sum := sha256.Sum256([]byte(serviceAccount))
	hash := hex.EncodeToString(sum[:8])
	return name[:maxObjectName-1-len(hash)] + "-" + hash
}

// InjectorHost is the name by which the API server calls the injectors of a mesh in a namespace.
func InjectorHost(namespace string) string { return AppInjector + "." + namespace + ".svc" }

// WebhookConfigName is the name of a mesh's MutatingWebhookConfiguration.
func WebhookConfigName(mesh string) string { return WebhookNamePrefix + mesh }
