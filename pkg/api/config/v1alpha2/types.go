// Package v1alpha2 holds the Go types of the config.openservicemesh.io/v1alpha2 API: MeshConfig, the
// settings of a mesh that take effect at runtime, and MeshRootCertificate, its root CAs.
//
// It holds types and their OpenAPI markers, no defaults and no logic. The zero value of every field is the
// restrictive one (no permissive mode, no egress). It only has fields that the control plane uses: a field
// without effect would mislead users. deepcopy and the CRDs are generated from these files (make generate).
package v1alpha2

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MeshConfig is the singleton "osm-mesh-config" in the mesh's namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=meshconfig
type MeshConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec MeshConfigSpec `json:"spec,omitempty"`
}

// MeshConfigList is a list of MeshConfigs.
//
// +kubebuilder:object:root=true
type MeshConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MeshConfig `json:"items"`
}

// MeshConfigSpec holds the settings of a mesh.
type MeshConfigSpec struct {
	Sidecar       SidecarSpec       `json:"sidecar,omitempty"`
	Traffic       TrafficSpec       `json:"traffic,omitempty"`
	Observability ObservabilitySpec `json:"observability,omitempty"`
	Certificate   CertificateSpec   `json:"certificate,omitempty"`
}

// LocalProxyMode selects the address at which a sidecar reaches its application.
//
// +kubebuilder:validation:Enum=Localhost;PodIP
type LocalProxyMode string

// The values of LocalProxyMode.
const (
	LocalProxyModeLocalhost LocalProxyMode = "Localhost"
	LocalProxyModePodIP     LocalProxyMode = "PodIP"
)

// SidecarSpec configures the Envoy sidecars. All fields but localProxyMode apply only to pods created after
// the change.
type SidecarSpec struct {
	// EnvoyImage overrides the sidecar image that the chart names.
	EnvoyImage string `json:"envoyImage,omitempty"`
	// LogLevel is Envoy's log level; empty means error.
	// +kubebuilder:validation:Enum="";trace;debug;info;warning;warn;error;critical;off
	LogLevel string `json:"logLevel,omitempty"`
	// Resources are the resource requirements of the sidecar and of the init container osm-init, each. Limits that
	// equal the requests, of both cpu and memory, let pods keep the QoS class Guaranteed.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// LocalProxyMode is Localhost (default) or PodIP.
	LocalProxyMode LocalProxyMode `json:"localProxyMode,omitempty"`
}

// TrafficSpec configures which traffic is allowed and which bypasses the sidecars.
type TrafficSpec struct {
	// EnableEgress lets meshed pods reach destinations outside the mesh.
	EnableEgress bool `json:"enableEgress,omitempty"`
	// EnablePermissiveTrafficPolicyMode lets every meshed workload reach every meshed service.
	EnablePermissiveTrafficPolicyMode bool `json:"enablePermissiveTrafficPolicyMode,omitempty"`
	// OutboundPortExclusionList lists the destination ports whose outbound traffic bypasses every sidecar.
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	OutboundPortExclusionList []int32 `json:"outboundPortExclusionList,omitempty"`
	// InboundPortExclusionList lists the ports whose inbound traffic bypasses every sidecar.
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	InboundPortExclusionList []int32 `json:"inboundPortExclusionList,omitempty"`
	// OutboundIPRangeExclusionList lists the CIDRs whose outbound traffic bypasses the sidecar.
	OutboundIPRangeExclusionList []string `json:"outboundIPRangeExclusionList,omitempty"`
	// OutboundIPRangeInclusionList lists the only CIDRs whose outbound traffic goes through the sidecar; empty
	// means all.
	OutboundIPRangeInclusionList []string `json:"outboundIPRangeInclusionList,omitempty"`
	// NetworkInterfaceExclusionList lists the network interfaces whose traffic bypasses the sidecar.
	NetworkInterfaceExclusionList []string `json:"networkInterfaceExclusionList,omitempty"`
}

// ObservabilitySpec configures the control plane's logs.
type ObservabilitySpec struct {
	// OSMLogLevel is the control plane's log level; empty means info.
	// +kubebuilder:validation:Enum="";debug;info;warn;error
	OSMLogLevel string `json:"osmLogLevel,omitempty"`
}

// CertificateSpec configures service certificates.
type CertificateSpec struct {
	// ServiceCertValidityDuration is the lifetime of service certificates; zero means 24h.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || (duration(self) >= duration('10m') && duration(self) <= duration('87600h'))",message="must be a duration from 10m to 87600h, or 0s for the default of 24h"
	ServiceCertValidityDuration metav1.Duration `json:"serviceCertValidityDuration,omitempty"`
	// CertKeyBitSize selects RSA keys of that size; zero means ECDSA P-256.
	// +kubebuilder:validation:Enum=0;2048;3072;4096
	CertKeyBitSize int `json:"certKeyBitSize,omitempty"`
}
