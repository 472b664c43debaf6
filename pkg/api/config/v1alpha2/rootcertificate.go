package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationRotateTo on a MeshRootCertificate holds the time, as RFC 3339, at which somebody asked
// for a rotation to that root, or back to it. The root that was asked for last is where the
// rotation leads; the control plane removes the annotation when it is over.
const AnnotationRotateTo = "config.openservicemesh.io/rotate-to"

// MeshRootCertificate is a root CA of the mesh: where it comes from, and what it is used for. A
// mesh without any uses the one that its installation names.
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

// MeshRootCertificateSpec says where the root comes from and what it is used for.
type MeshRootCertificateSpec struct {
	// Provider is who signs with this root. Another provider is another root: make a new object.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: create another MeshRootCertificate and rotate to it"
	Provider ProviderSpec `json:"provider"`
	// TrustDomain is the mesh's; it must be the one that the mesh was installed with.
	// +kubebuilder:default=cluster.local
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed"
	TrustDomain string `json:"trustDomain,omitempty"`
	// Role is active (trusted, and signs), passive (trusted) or inactive (not used).
	// +kubebuilder:validation:XValidation:rule="self == oldSelf || self == 'passive' || oldSelf == 'passive'",message="changes between active and inactive by way of passive only"
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

// MeshRootCertificateStatus is what the control plane reports.
type MeshRootCertificateStatus struct {
	// State is one word for people: the phase of the rotation that the root takes part in, or its
	// role, or error.
	State string `json:"state,omitempty"`
	// Fingerprint is the SHA-256 of the CA, in hex, once it was loaded.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Conditions say what a user has to fix.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
