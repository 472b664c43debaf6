package crds_test

import (
	"errors"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

func managed(manager string, operation metav1.ManagedFieldsOperationType) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Annotations = nil
		crd.ManagedFields = append(crd.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Operation: operation})
	}
}

func TestConflict(t *testing.T) {
	all, err := crds.All()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	tests := map[string]struct {
		change func(*apiextensionsv1.CustomResourceDefinition)
		want   []string // nothing: it may be replaced
	}{
		"as it was applied":           {func(*apiextensionsv1.CustomResourceDefinition) {}, nil},
		"applied before it was noted": {managed("osm-bootstrap", metav1.ManagedFieldsOperationApply), nil},
		"Open Service Mesh's hook":    {managed("osm-bootstrap", metav1.ManagedFieldsOperationUpdate), []string{"installed by osm-bootstrap;", "kubectl annotate crd"}},
		"kubectl":                     {managed("kubectl-client-side-apply", metav1.ManagedFieldsOperationUpdate), []string{"installed by kubectl-client-side-apply;"}},
		"Helm": {func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Annotations = map[string]string{"meta.helm.sh/release-name": "edge", "meta.helm.sh/release-namespace": "e"}
			crd.Labels = map[string]string{"app.kubernetes.io/version": "v1.3.9"}
		}, []string{"installed by Helm release e/edge (version v1.3.9);"}},
		"nobody": {func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Annotations = nil }, []string{"somebody unknown"}},
		"stored in a version of ours": {func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Status.StoredVersions = []string{"v1alpha2"}
		}, nil},
		"own, stored in another version": {func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Status.StoredVersions = []string{"v1alpha2", "v1"}
		}, []string{"installed by osm,", "objects in version v1,", "use an osm that is at least as new"}},
		"another's, stored in another version": {func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Annotations, crd.Status.StoredVersions = nil, []string{"v1alpha1"}
			crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1alpha1"})
		}, []string{"version(s) v1alpha2, v1alpha1 ", "objects in version v1alpha1,", "kubectl delete crd"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, ours := range all {
				present := ours.DeepCopy()
				tt.change(present)
				err := crds.Conflict(present, ours)
				if (err != nil) != (tt.want != nil) || (err != nil && !errors.As(err, new(*crds.ConflictError))) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				for _, part := range append(tt.want, ours.Name) {
					if err != nil && !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
			}
		})
	}
}
