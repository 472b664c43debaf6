package provider_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/demo/provider"
)

const (
	image       = "registry.test/provider:v1"
	definitions = "kind: CustomResourceDefinition\nmetadata: {name: a}\n---\nkind: CustomResourceDefinition\nmetadata: {name: b}\n"
)

func names(objects []*unstructured.Unstructured) []string {
	var all []string
	for _, o := range objects {
		all = append(all, o.GetKind()+" "+strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	}
	return all
}

func vault(t *testing.T, objects ...runtime.Object) *provider.Deployment {
	t.Helper()
	d, err := provider.Vault(t.Context(), fake.NewClientset(objects...), image, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// keys decodes the Secret among the objects.
func keys(t *testing.T, d *provider.Deployment) map[string][]byte {
	t.Helper()
	data, _, err := unstructured.NestedStringMap(d.Objects[1].Object, "data")
	if err != nil || d.Objects[1].GetKind() != "Secret" {
		t.Fatalf("second object is %s (%v), want the Secret with the keys", d.Objects[1].GetKind(), err)
	}
	decoded := map[string][]byte{}
	for name, text := range data {
		if decoded[name], err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return decoded
}

func TestObjects(t *testing.T) {
	manager, err := provider.CertManager(image, []byte(definitions))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		d    *provider.Deployment
		want []string
	}{
		{vault(t), []string{
			"Namespace openbao", "Secret openbao/openbao-keys", "ServiceAccount openbao/openbao", "ClusterRoleBinding osm-demo-openbao",
			"ConfigMap openbao/openbao", "Service openbao/openbao", "Deployment openbao/openbao",
		}},
		{manager, []string{
			"CustomResourceDefinition a", "CustomResourceDefinition b", "Namespace cert-manager", "ServiceAccount cert-manager/cert-manager",
			"ClusterRole osm-demo-cert-manager", "ClusterRoleBinding osm-demo-cert-manager", "Deployment cert-manager/cert-manager",
		}},
	} {
		if got := names(row.d.Objects); !slices.Equal(got, row.want) {
			t.Errorf("objects %q, want %q", got, row.want)
		}
		var d appsv1.Deployment
		last := row.d.Objects[len(row.d.Objects)-1].Object
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(last, &d, true); err != nil {
			t.Fatal(err)
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != image {
			t.Errorf("runs %s, want %s", got, image)
		}
	}
	want := []string{"Namespace osm-system", "Issuer osm-system/osm-ca-bootstrap", "Certificate osm-system/osm-ca", "Issuer osm-system/osm-ca"}
	if got := names(manager.Issuers); !slices.Equal(got, want) {
		t.Errorf("issuers %q, want %q", got, want)
	}
}

// TestKeysStay: a provider that is deployed again keeps its CA.
func TestKeysStay(t *testing.T) {
	first := vault(t)
	made := keys(t, first)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "openbao", Name: "openbao-keys"}, Data: made}
	again := keys(t, vault(t, secret))
	for name := range made {
		if !bytes.Equal(made[name], again[name]) {
			t.Errorf("%s was created again", name)
		}
	}
	if other := keys(t, vault(t)); bytes.Equal(other[provider.KeyCA], made[provider.KeyCA]) {
		t.Error("two clusters have the same CA")
	}
}

func TestKeysFit(t *testing.T) {
	made := keys(t, vault(t))
	pair, err := tls.X509KeyPair(made["tls.crt"], made["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(made[provider.KeyTLSCA])
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: provider.VaultHost}); err != nil {
		t.Error(err)
	}
	ca, err := tls.X509KeyPair(made[provider.KeyCA], made[provider.KeyCA])
	if err != nil || !ca.Leaf.IsCA {
		t.Errorf("the CA that signs for the mesh: %v", err)
	}
}

// TestNoSecretOutsideTheSecret checks what users print, commit and paste: values and manifests.
func TestNoSecretOutsideTheSecret(t *testing.T) {
	d := vault(t)
	made := keys(t, d)
	var shown bytes.Buffer
	if err := d.WriteValues(&shown); err != nil {
		t.Fatal(err)
	}
	for _, o := range slices.Delete(slices.Clone(d.Objects), 1, 2) {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(text)
	}
	for _, name := range []string{provider.KeyOperatorToken, "seal"} {
		if bytes.Contains(shown.Bytes(), made[name]) {
			t.Errorf("%s is outside the Secret", name)
		}
	}
	if bytes.Contains(shown.Bytes(), []byte("PRIVATE KEY")) {
		t.Error("a private key is outside the Secret")
	}
}

func TestValues(t *testing.T) {
	d := vault(t)
	var text bytes.Buffer
	if err := d.WriteValues(&text); err != nil {
		t.Fatal(err)
	}
	var values struct {
		OSM struct {
			CertificateProvider struct{ Kind string }
			Vault               struct {
				Host, CABundle string
				Port           int
			}
		}
	}
	if err := yaml.Unmarshal(text.Bytes(), &values); err != nil {
		t.Fatal(err)
	}
	v := values.OSM
	if v.CertificateProvider.Kind != "vault" || v.Vault.Host != "openbao.openbao.svc" || v.Vault.Port != 8200 || v.Vault.CABundle != string(keys(t, d)[provider.KeyTLSCA]) {
		t.Errorf("values %s", text.String())
	}
}

func TestRefuses(t *testing.T) {
	broken := fake.NewClientset()
	broken.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("refused by the API server")
	})
	for want, attempt := range map[string]func() error{
		"OpenBao image is empty": func() error { _, err := provider.Vault(t.Context(), broken, "", time.Now()); return err },
		// Otherwise a temporary failure would replace the CA of a running mesh.
		"read OpenBao's keys: refused by the API server": func() error { _, err := provider.Vault(t.Context(), broken, image, time.Now()); return err },
		"cert-manager image is empty":                    func() error { _, err := provider.CertManager("", []byte(definitions)); return err },
		"definitions are empty":                          func() error { _, err := provider.CertManager(image, nil); return err },
		"decode cert-manager's definitions":              func() error { _, err := provider.CertManager(image, []byte("{")); return err },
	} {
		if err := attempt(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}
