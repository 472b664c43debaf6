package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationRotateTo on a MeshRootCertificate holds the time, in RFC 3339, at which a user requested a
// rotation to that root, or back to it. The latest request is the target of the rotation; the control plane
// removes the annotation when the rotation is complete.
const AnnotationRotateTo = "config.openservicemesh.io/rotate-to"

// MeshRootCertificate is a root CA of the mesh: who provides it, and what it is used for. A mesh without
// MeshRootCertificates uses the root that its installation names.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=mrc
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Role",type=string,JSONPath=`.spec.role`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MeshRootCertificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   MeshRootCertificateSpec   `json:"spec"`
	Status MeshRootCertificateStatus `json:"status,omitempty"`
}

// MeshRootCertificateList is a list of MeshRootCertificates.
//
// +kubebuilder:object:root=true
type MeshRootCertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MeshRootCertificate `json:"items"`
}

// MeshRootCertificateSpec says who provides the root and what it is used for.
type MeshRootCertificateSpec struct {
	// Provider signs with this root. To change the provider, create another MeshRootCertificate.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: create another MeshRootCertificate and rotate to it"
	Provider ProviderSpec `json:"provider"`
	// TrustDomain is the mesh's trust domain. It must be the one that the mesh was installed with.
	// +kubebuilder:default=cluster.local
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed"
	TrustDomain string `json:"trustDomain,omitempty"`
	// Role is active (signs and is trusted), passive (is trusted) or inactive (is not used).
	// +kubebuilder:validation:XValidation:rule="self == oldSelf || self == 'passive' || oldSelf == 'passive'",message="cannot change between active and inactive directly: set it to passive first"
	Role RootRole `json:"role"`
}

// RootRole is what a root is used for.
//
// +kubebuilder:validation:Enum=active;passive;inactive
type RootRole string

// The values of RootRole.
const (
	RootRoleActive   RootRole = "active"
	RootRolePassive  RootRole = "passive"
	RootRoleInactive RootRole = "inactive"
)

// MeshRootCertificateStatus is the status that the control plane reports.
type MeshRootCertificateStatus struct {
	// State is a one-word summary: the phase of the rotation that the root takes part in, or its role, or
	// error.
	State string `json:"state,omitempty"`
	// Fingerprint is the SHA-256 of the CA, in hex, once it is loaded.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Conditions say what a user has to fix.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
