package provider

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// TestVaultRequestFollowsFlags: server, CA, namespace, mount, role and token of the flags are those
// of the request.
func TestVaultRequestFollowsFlags(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var token, namespace string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/team/pki/sign/mesh" {
			token, namespace = r.Header.Get("X-Vault-Token"), r.Header.Get("X-Vault-Namespace")
			cancel()
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	caFile, tokenFile := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	must(t, os.WriteFile(tokenFile, []byte("hvs.one\n"), 0o600))
	rig := newRig(t, parse(t, "--certificate-provider=vault", "--vault-address="+server.URL, "--vault-ca-file="+caFile, "--vault-token-file="+tokenFile,
		"--vault-mount=team/pki", "--vault-role=mesh", "--vault-namespace=platform"))
	if _, err := Open(ctx, rig.cfg); err == nil || t.Context().Err() != nil {
		t.Fatalf("opened without a certificate: %v", err)
	}
	server.Close() // waits for the handler
	if token != "hvs.one" || namespace != "platform" {
		t.Errorf("requested with token %q in namespace %q", token, namespace)
	}
	// Whether the load has begun when readiness is set is a race; the server is named in both cases.
	if !slices.ContainsFunc(rig.ready.all(), func(reason string) bool {
		return strings.Contains(reason, "Vault at "+server.URL+", PKI engine team/pki")
	}) {
		t.Errorf("readiness said %q", rig.ready.all())
	}
}

// TestCertManagerRequestFollowsFlags: namespace and issuer of the flags are those of the request.
func TestCertManagerRequestFollowsFlags(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rig := newRig(t, parse(t, "--certificate-provider=cert-manager", "--cert-manager-issuer=step", "--cert-manager-issuer-kind=StepIssuer", "--cert-manager-issuer-group=step.sm"))
	client := objects(t)
	var asked *unstructured.Unstructured
	client.PrependReactor("create", "certificaterequests", func(action clienttesting.Action) (bool, runtime.Object, error) {
		asked, _ = action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		cancel()
		return false, nil, nil
	})
	rig.cfg.Dynamic = client
	if _, err := Open(ctx, rig.cfg); err == nil || asked == nil {
		t.Fatalf("error %v, request %v", err, asked)
	}
	got, _, _ := unstructured.NestedStringMap(asked.Object, "spec", "issuerRef")
	if asked.GetNamespace() != "osm-system" || got["name"] != "step" || got["kind"] != "StepIssuer" || got["group"] != "step.sm" {
		t.Errorf("requested %v in namespace %q", got, asked.GetNamespace())
	}
}

func (r *readiness) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reasons)
}
