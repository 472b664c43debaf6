// +kubebuilder:object:generate=true
// +groupName=config.openservicemesh.io
// +versionName=v1alpha2

package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The group, version, kind and resource of MeshConfig as the API server spells them.
const (
	Group    = "config.openservicemesh.io"
	Version  = "v1alpha2"
	Kind     = "MeshConfig"
	Resource = "meshconfigs"
)

// The kind and resource of MeshRootCertificate.
const (
	RootCertificateKind     = "MeshRootCertificate"
	RootCertificateResource = "meshrootcertificates"
)

// GroupVersion returns config.openservicemesh.io/v1alpha2.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// GroupVersionResource returns the resource that clients of MeshConfig address.
func GroupVersionResource() schema.GroupVersionResource {
	return GroupVersion().WithResource(Resource)
}

// RootCertificateGroupVersionResource returns the resource that clients of MeshRootCertificate address.
func RootCertificateGroupVersionResource() schema.GroupVersionResource {
	return GroupVersion().WithResource(RootCertificateResource)
}

// AddToScheme registers the types of this package with a scheme. It is a function instead of the usual
// package-level SchemeBuilder, which any importer could change.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &MeshConfig{}, &MeshConfigList{}, &MeshRootCertificate{}, &MeshRootCertificateList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
