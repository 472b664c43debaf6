// Package crds holds the mesh's CustomResourceDefinitions and reports whether they may replace those
// that a cluster has already.
//
// It talks to no cluster: the install hook applies what it holds, and the CLI asks it the same
// question before it starts the hook. Its invariant: a definition that somebody else installed, or
// under which objects are stored in a version that is not among its own, is never to be replaced.
package crds

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api"
)

// FieldManager owns what the install hook applies.
const FieldManager = "osm-bootstrap"

// Annotations that name who installed a definition.
const (
	// AnnotationOwner, set to FieldManager, marks a definition as osm's own. It outlives a backup,
	// which loses field managers, and an administrator sets it to hand a definition over.
	AnnotationOwner      = "openservicemesh.io/owner"
	annotationHelmName   = "meta.helm.sh/release-name"
	annotationHelmSource = "meta.helm.sh/release-namespace"
)

//go:embed *.yaml
var files embed.FS

// All returns the mesh's CustomResourceDefinitions, labelled and marked as osm's, ordered by file name.
func All() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list embedded CRDs: %w", err)
	}
	all := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(names))
	for _, name := range names {
		crd, err := read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, crd)
	}
	return all, nil
}

func read(file string) (*apiextensionsv1.CustomResourceDefinition, error) {
	text, err := files.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read embedded CRD: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		return nil, fmt.Errorf("decode embedded CRD %s: %w", file, err)
	}
	if crd.Labels == nil {
		crd.Labels = map[string]string{}
	}
	crd.Labels[api.LabelName] = api.NameValue
	if crd.Annotations == nil {
		crd.Annotations = map[string]string{}
	}
	crd.Annotations[AnnotationOwner] = FieldManager
	return crd, nil
}

// ConflictError says why a definition of the cluster must not be replaced.
type ConflictError struct {
	Name   string   // of the definition
	Owner  string   // who installed it, in words
	Serves []string // its versions
	Stored []string // versions of stored objects that the new definition does not have
	Own    bool     // osm installed it
}

func (e *ConflictError) Error() string {
	what := fmt.Sprintf("CRD %s with version(s) %s was installed by %s", e.Name, strings.Join(e.Serves, ", "), e.Owner)
	if len(e.Stored) > 0 {
		what += fmt.Sprintf(", and the cluster may hold objects in version %s, which this osm does not know", strings.Join(e.Stored, ", "))
	}
	if e.Own {
		return what + "; use an osm that is at least as new"
	}
	what += fmt.Sprintf("; nothing of it was changed: remove that installation first (save its objects with kubectl get %s -A -o yaml, then kubectl delete crd %s)", e.Name, e.Name)
	if len(e.Stored) == 0 {
		what += fmt.Sprintf(", or if it is gone and the definition may be replaced, say so with kubectl annotate crd %s %s=%s", e.Name, AnnotationOwner, FieldManager)
	}
	return what
}

// Conflict returns a *ConflictError when present, a definition of the cluster, must not be replaced
// by ours, which has the same name.
func Conflict(present, ours *apiextensionsv1.CustomResourceDefinition) error {
	known := versions(ours)
	conflict := &ConflictError{Name: present.Name, Owner: owner(present), Serves: versions(present), Own: Own(present)}
	for _, stored := range present.Status.StoredVersions {
		if !slices.Contains(known, stored) {
			conflict.Stored = append(conflict.Stored, stored)
		}
	}
	if conflict.Own && len(conflict.Stored) == 0 {
		return nil
	}
	return conflict
}

// Own reports whether osm installed a definition. Server-side apply records that: the osm-bootstrap of Open
// Service Mesh has the same name as a field manager, but it creates and updates.
func Own(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if crd.Annotations[AnnotationOwner] == FieldManager {
		return true
	}
	return slices.ContainsFunc(crd.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == FieldManager && f.Operation == metav1.ManagedFieldsOperationApply
	})
}

// Same reports whether present, a definition of the cluster, is what the install hook makes of ours.
func Same(present, ours *apiextensionsv1.CustomResourceDefinition) bool {
	return present.Annotations[AnnotationOwner] == FieldManager && equality.Semantic.DeepEqual(present.Spec.Versions, ours.Spec.Versions)
}

// owner says in words who installed a definition.
func owner(crd *apiextensionsv1.CustomResourceDefinition) string {
	if Own(crd) {
		return "osm"
	}
	version := ""
	if label := crd.Labels[api.LabelVersion]; label != "" {
		version = " (version " + label + ")"
	}
	if name := crd.Annotations[annotationHelmName]; name != "" {
		return fmt.Sprintf("Helm release %s/%s%s", crd.Annotations[annotationHelmSource], name, version)
	}
	var managers []string
	for _, field := range crd.ManagedFields {
		if field.Subresource == "" && !slices.Contains(managers, field.Manager) {
			managers = append(managers, field.Manager)
		}
	}
	return cmp.Or(strings.Join(managers, ", "), "somebody unknown") + version
}

func versions(crd *apiextensionsv1.CustomResourceDefinition) []string {
	names := make([]string, 0, len(crd.Spec.Versions))
	for _, version := range crd.Spec.Versions {
		names = append(names, version.Name)
	}
	return names
}
