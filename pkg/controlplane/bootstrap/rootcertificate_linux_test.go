package bootstrap

import (
	"strings"
	"testing"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/tests/realapi"
)

// TestRootCertificateRules checks the validation of MeshRootCertificates in a real API server.
func TestRootCertificateRules(t *testing.T) {
	config := realapi.Start(t).Config()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	crds, err := apiextensionsclient.NewForConfigAndClient(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := ApplyCRDs(t.Context(), crds.CustomResourceDefinitions(), discard()); err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfigAndClient(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	roots := objects.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace("default")

	const tresor = `{tresor: {ca: {secretRef: {name: osm-ca-bundle, namespace: osm-system}}}}`
	creations := []struct{ name, spec, refusal string }{
		{"tresor", `{role: active, provider: ` + tresor + `}`, ""},
		{"vault", `{role: passive, trustDomain: cluster.local, provider: {vault: {host: vault.vault, port: 8200, role: osm, token: {secretKeyRef: {name: t, namespace: osm-system, key: token}}}}}`, ""},
		{"vault-login", `{role: inactive, provider: {vault: {host: vault.vault, port: 8200, role: osm, protocol: http}}}`, ""},
		{"cert-manager", `{role: inactive, provider: {certManager: {issuerName: osm-ca, issuerKind: ClusterIssuer}}}`, ""},
		{"none", `{role: active, provider: {}}`, "exactly one of tresor, vault and certManager"},
		{"two", `{role: active, provider: {certManager: {issuerName: x}, tresor: {ca: {secretRef: {name: a, namespace: b}}}}}`, "exactly one of tresor, vault and certManager"},
		{"no-provider", `{role: active}`, "spec.provider: Required"},
		{"no-role", `{provider: ` + tresor + `}`, "spec.role: Required"},
		{"strange-role", `{role: main, provider: ` + tresor + `}`, `Unsupported value: "main"`},
		{"no-spec", ``, "spec: Required"},
		{"inline-token", `{role: active, provider: {vault: {host: h, port: 1, role: r, token: abc}}}`, "spec.provider.vault.token"},
		{"strange-host", `{role: active, provider: {vault: {host: "h@thief", port: 1, role: r}}}`, "spec.provider.vault.host"},
		{"strange-port", `{role: active, provider: {vault: {host: h, port: 0, role: r}}}`, "spec.provider.vault.port"},
	}
	for _, c := range creations {
		_, err := roots.Create(t.Context(), rootObject(t, c.name, c.spec), metav1.CreateOptions{})
		if !answered(err, c.refusal) {
			t.Errorf("create %s: got %v, want %q", c.name, err, c.refusal)
		}
	}
	changes := []struct{ name, path, value, refusal string }{
		{"tresor", "role", "inactive", "set it to passive first"},
		{"tresor", "role", "passive", ""},
		{"tresor", "role", "inactive", ""},
		{"tresor", "role", "active", "set it to passive first"},
		{"tresor", "trustDomain", "example.com", "cannot be changed"},
		{"tresor", "provider.tresor.ca.secretRef.name", "other", "create another MeshRootCertificate"},
	}
	for _, c := range changes {
		object, err := roots.Get(t.Context(), c.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(object.Object, c.value, append([]string{"spec"}, strings.Split(c.path, ".")...)...); err != nil {
			t.Fatal(err)
		}
		if _, err := roots.Update(t.Context(), object, metav1.UpdateOptions{}); !answered(err, c.refusal) {
			t.Errorf("set %s to %s: got %v, want %q", c.path, c.value, err, c.refusal)
		}
	}
	vault, err := roots.Get(t.Context(), "vault", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if protocol, _, _ := unstructured.NestedString(vault.Object, "spec", "provider", "vault", "protocol"); protocol != "https" {
		t.Errorf("protocol %q by default, want https", protocol)
	}
}

// answered reports whether the error is the expected one; an empty refusal expects none.
func answered(err error, refusal string) bool {
	if refusal == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), refusal)
}

func rootObject(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{}}
	if spec != "" {
		var fields map[string]any
		if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
			t.Fatal(err)
		}
		object.Object["spec"] = fields
	}
	object.SetAPIVersion(v1alpha2.GroupVersion().String())
	object.SetKind(v1alpha2.RootCertificateKind)
	object.SetName(name)
	return object
}
