package bootstrap

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
	"github.com/osm-edge/osm/tests/realapi"
)

const (
	meshConfigs = "meshconfigs.config.openservicemesh.io"
	rootCerts   = "meshrootcertificates.config.openservicemesh.io"
)

// TestForeignCRDsAreNotReplaced uses a real API server, which records the field managers and the stored
// versions of objects.
func TestForeignCRDsAreNotReplaced(t *testing.T) {
	config := realapi.Start(t).Config()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	clients, err := apiextensionsclient.NewForConfigAndClient(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	client := clients.CustomResourceDefinitions()
	get := func(name string) *apiextensionsv1.CustomResourceDefinition {
		t.Helper()
		crd, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return crd
	}

	// Open Service Mesh's hook, of the same name, has installed its own.
	theirs := oursOf(t, meshConfigs)
	theirs.Annotations, theirs.Spec.Versions[0].Name = nil, "v1alpha1"
	if _, err := client.Create(t.Context(), theirs, metav1.CreateOptions{FieldManager: FieldManager}); err != nil {
		t.Fatal(err)
	}
	if err := awaitEstablished(t.Context(), client, meshConfigs); err != nil {
		t.Fatal(err)
	}
	before := get(meshConfigs)
	err = ApplyCRDs(t.Context(), client, discard())
	for _, part := range []string{"CRD " + meshConfigs + " with version(s) v1alpha1 was installed by osm-bootstrap", "objects in version v1alpha1"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q", err, part)
		}
	}
	if transient(err) {
		t.Errorf("%v: the hook would retry until its timeout", err)
	}
	if diff := cmp.Diff(before, get(meshConfigs)); diff != "" {
		t.Errorf("another installation's CRD was changed (-before +after):\n%s", diff)
	}
	// All or nothing: the other definition was not installed either.
	if _, err := client.Get(t.Context(), rootCerts, metav1.GetOptions{}); err == nil {
		t.Errorf("CRD %s was installed beside a foreign one", rootCerts)
	}

	// A CRD of the same version still belongs to someone else, until an administrator says otherwise.
	if err := client.Delete(t.Context(), meshConfigs, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs = oursOf(t, meshConfigs)
	theirs.Annotations = nil
	create(t, client, theirs)
	var conflict *crds.ConflictError
	if err := ApplyCRDs(t.Context(), client, discard()); !errors.As(err, &conflict) || conflict.Name != meshConfigs || len(conflict.Stored) != 0 {
		t.Fatalf("got %v, want a conflict about %s", err, meshConfigs)
	}
	handOver := []byte(`{"metadata":{"annotations":{"` + crds.AnnotationOwner + `":"` + FieldManager + `"}}}`)
	if _, err := client.Patch(t.Context(), meshConfigs, types.MergePatchType, handOver, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an upgrade applies them again
		if err := ApplyCRDs(t.Context(), client, discard()); err != nil {
			t.Fatal(err)
		}
	}

	// What was applied is recognised, and so is what was changed since, as by an osm of another version.
	for _, name := range []string{meshConfigs, rootCerts} {
		if !crds.Same(get(name), oursOf(t, name)) {
			t.Errorf("the definition %s, which was just applied, counts as another one", name)
		}
	}
	describe := []byte(`[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/description","value":"older"}]`)
	if _, err := client.Patch(t.Context(), meshConfigs, types.JSONPatchType, describe, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if crds.Same(get(meshConfigs), oursOf(t, meshConfigs)) {
		t.Error("a definition with another schema counts as ours")
	}

	// The field manager is enough: CRDs that an older osm applied without the annotation are osm's.
	drop := []byte(`{"metadata":{"annotations":{"` + crds.AnnotationOwner + `":null}}}`)
	if _, err := client.Patch(t.Context(), rootCerts, types.MergePatchType, drop, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ApplyCRDs(t.Context(), client, discard()); err != nil {
		t.Error(err)
	}
	if get(rootCerts).Annotations[crds.AnnotationOwner] != FieldManager {
		t.Error("the owner was not recorded again")
	}
}

// oursOf returns the definition of that name in this osm.
func oursOf(t *testing.T, name string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range all {
		if crd.Name == name {
			return crd
		}
	}
	t.Fatalf("no CRD %s", name)
	return nil
}

// create creates a definition as soon as an earlier one of that name is deleted.
func create(t *testing.T, client apiextensionsclient.CustomResourceDefinitionInterface, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	watcher, err := client.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + crd.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	for {
		if _, err = client.Create(t.Context(), crd.DeepCopy(), metav1.CreateOptions{FieldManager: FieldManager}); err == nil {
			return
		}
		if !strings.Contains(err.Error(), "already exists") && !strings.Contains(err.Error(), "being deleted") {
			t.Fatal(err)
		}
		if _, open := <-watcher.ResultChan(); !open {
			t.Fatal("the watch ended")
		}
	}
}
