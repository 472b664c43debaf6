package certmanager_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	k8stesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

func TestNewRefuses(t *testing.T) {
	good := certmanager.Config{Client: newAPIServer(t).client, Namespace: namespace, Mesh: "osm", TrustDomain: domain, Issuer: certmanager.IssuerRef{Name: "osm-ca"}}
	for name, row := range map[string]struct {
		change func(*certmanager.Config)
		want   string
	}{
		"client":       {func(c *certmanager.Config) { c.Client = nil }, "are required"},
		"namespace":    {func(c *certmanager.Config) { c.Namespace = "" }, "are required"},
		"mesh":         {func(c *certmanager.Config) { c.Mesh = "" }, "are required"},
		"trust domain": {func(c *certmanager.Config) { c.TrustDomain = "" }, "are required"},
		"issuer":       {func(c *certmanager.Config) { c.Issuer.Name = "" }, "an issuer's name"},
		"kind":         {func(c *certmanager.Config) { c.Issuer.Kind = "Isuer" }, `"Isuer" in group cert-manager.io: want Issuer or ClusterIssuer`},
		"in flight":    {func(c *certmanager.Config) { c.MaxInFlight = -1 }, "must not be negative"},
		"timeout":      {func(c *certmanager.Config) { c.Timeout = -1 }, "must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			row.change(&cfg)
			if _, err := certmanager.New(cfg); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got error %v, want one with %q", err, row.want)
			}
		})
	}
	if _, err := certmanager.New(good); err != nil {
		t.Error(err)
	}
}

func TestIssueBeforeLoad(t *testing.T) {
	s := newAPIServer(t)
	if _, err := s.authority().Issue(t.Context(), serviceRequest("bookbuyer")); err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("got error %v", err)
	}
	if n := s.count("create"); n != 0 {
		t.Errorf("sent %d requests", n)
	}
}

// TestRequest compares the whole object for each usage.
func TestRequest(t *testing.T) {
	s := newAPIServer(t)
	authority := s.load(func(cfg *certmanager.Config) {
		cfg.Issuer = certmanager.IssuerRef{Name: "pca", Kind: "AWSPCAClusterIssuer", Group: "awspca.cert-manager.io"}
		cfg.Now = func() time.Time { return time.Now().Truncate(time.Second) } // as precise as certificates
	})
	names := map[string]bool{}
	for _, row := range []struct {
		req      ca.Request
		usages   []any
		lifetime string
	}{
		{ca.Request{Usage: ca.UsageService}, []any{"digital signature", "server auth", "client auth"}, "24h0m0s"},
		{ca.Request{Usage: ca.UsageService}, []any{"digital signature", "server auth", "client auth"}, "24h0m0s"}, // for another key
		{ca.Request{Usage: ca.UsageProxy, TTL: time.Hour}, []any{"digital signature", "client auth"}, "1h0m0s"},
		{ca.Request{Usage: ca.UsageServing, KeyBits: 2048}, []any{"digital signature", "key encipherment", "server auth"}, "24h0m0s"},
	} {
		row.req.Identity = workload("bookbuyer")
		if _, err := authority.Issue(t.Context(), row.req); err != nil {
			t.Fatal(err)
		}
		object := s.last.DeepCopy().Object
		metadata, spec := object["metadata"].(map[string]any), object["spec"].(map[string]any)
		name := metadata["name"].(string)
		if !regexp.MustCompile(`^osm-[0-9a-f]{20}$`).MatchString(name) || names[name] {
			t.Errorf("name %q: want a unique digest", name)
		}
		names[name] = true
		csr, err := base64.StdEncoding.DecodeString(spec["request"].(string))
		if block, _ := pem.Decode(csr); err != nil || block == nil || block.Type != "CERTIFICATE REQUEST" {
			t.Errorf("request %q is no signing request", csr)
		}
		for _, key := range []string{"name", "resourceVersion", "creationTimestamp"} {
			delete(metadata, key)
		}
		delete(spec, "request")
		want := map[string]any{
			"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
			"metadata": map[string]any{
				"namespace":   "osm-system",
				"labels":      map[string]any{"app.kubernetes.io/name": "openservicemesh.io", "app.kubernetes.io/instance": "osm", "openservicemesh.io/certificate-request": "osm"},
				"annotations": map[string]any{"openservicemesh.io/identity": "bookstore/bookbuyer"},
			},
			"spec": map[string]any{
				"duration": row.lifetime, "isCA": false, "usages": row.usages,
				"issuerRef": map[string]any{"name": "pca", "kind": "AWSPCAClusterIssuer", "group": "awspca.cert-manager.io"},
			},
		}
		if diff := cmp.Diff(want, object); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.req.Usage, diff)
		}
	}
	s.wantNone()
}

// TestOutcomes covers what issuers and approvers may write.
func TestOutcomes(t *testing.T) {
	const anything = "" // issued
	for name, row := range map[string]struct {
		change func(status map[string]any)
		reason certmanager.Reason
		texts  []string
	}{
		"issued": {func(map[string]any) {}, anything, nil},
		"denied": {func(s map[string]any) { s["conditions"] = []any{is("Denied", "Policy", "not you")} }, certmanager.Denied,
			[]string{"was denied: Policy: not you: let the cluster's approval policy", "osm-system", `Issuer "osm-ca"`}},
		"denied late": {func(s map[string]any) {
			s["conditions"] = append(s["conditions"].([]any), is("Denied", "Policy", "not you"))
		}, certmanager.Denied, nil},
		"denied by the issuer": {func(s map[string]any) { s["conditions"] = []any{notReady("Denied", "by policy")} }, certmanager.Denied,
			[]string{"was denied: by policy: "}},
		"failed":  {func(s map[string]any) { s["conditions"] = []any{notReady("Failed", "boom")} }, certmanager.Failed, []string{"failed: boom: fix the issuer"}},
		"invalid": {func(s map[string]any) { s["conditions"] = []any{is("InvalidRequest", "Names", "too many")} }, certmanager.Invalid, []string{"was rejected as invalid: Names: too many"}},
		"empty":   {func(s map[string]any) { delete(s, "certificate") }, certmanager.Failed, []string{"holds no certificate"}},
		"garbage": {func(s map[string]any) { s["certificate"] = "Z2FyYmFnZQ==" }, certmanager.Unusable, []string{"got an unusable certificate", "provider's response"}},
		"other CA": {func(s map[string]any) { s["certificate"] = s["ca"] }, certmanager.Unusable,
			[]string{"a different key"}},
		"not approved to be ready": {func(s map[string]any) { s["conditions"] = []any{is("Ready", "Issued", "")} }, anything, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			authority := s.load()
			s.status = func(spec map[string]any) map[string]any {
				status := s.issued(spec)
				row.change(status)
				return status
			}
			leaf, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
			if row.reason == anything {
				if err != nil || leaf.Identity != workload("bookbuyer") {
					t.Errorf("got %v, %v", leaf, err)
				}
			} else {
				wantReason(t, err, row.reason, row.texts...)
			}
			s.wantNone()
			if n := s.count("delete"); n != 1 {
				t.Errorf("deleted %d times, want once", n)
			}

			s.change(func() { s.status = nil })
			if _, err := authority.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
				t.Errorf("not recovered: %v", err)
			}
		})
	}
}

// TestRefused covers the API server's errors for a create. The object is deleted only if it may exist.
func TestRefused(t *testing.T) {
	resource := requestsResource.GroupResource()
	for name, row := range map[string]struct {
		err     error
		text    string
		deletes int
	}{
		"RBAC": {apierrors.NewForbidden(resource, "", errors.New(`User "system:serviceaccount:osm-system:osm-controller" cannot create resource "certificaterequests" in API group "cert-manager.io"`)),
			"let the control plane's ServiceAccount create, get, list, watch and delete certificaterequests.cert-manager.io in namespace osm-system", 0},
		"policy":     {apierrors.NewForbidden(resource, "osm-1", errors.New("ValidatingAdmissionPolicy 'x' denied request")), "admission webhooks", 0},
		"namespace":  {apierrors.NewNotFound(corev1.Resource("namespaces"), namespace), "create namespace osm-system", 0},
		"no such":    {apierrors.NewGenericServerResponse(http.StatusNotFound, "POST", resource, "", "", 0, true), "install cert-manager", 0},
		"invalid":    {apierrors.NewInvalid(schema.GroupKind{Group: "cert-manager.io", Kind: "CertificateRequest"}, "osm-1", nil), "admission webhooks", 0},
		"timeout":    {apierrors.NewTimeoutError("slow", 1), "check the API server", 1},
		"connection": {errors.New("connection reset by peer"), "connection reset by peer: it will be retried", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			authority := s.load()
			s.fail = func(verb string) error {
				if verb == "create" {
					return row.err
				}
				return nil
			}
			_, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
			wantReason(t, err, certmanager.Refused, "was refused by the API server: create: ", row.text)
			if !errors.Is(err, row.err) {
				t.Error("the error does not wrap its cause")
			}
			if n := s.count("delete"); n != row.deletes {
				t.Errorf("deleted %d times, want %d", n, row.deletes)
			}
		})
	}
}

// TestCreatedTwice has a create whose response is lost and that the client repeats.
func TestCreatedTwice(t *testing.T) {
	s := newAPIServer(t)
	authority := s.load()
	s.client.PrependReactor("create", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		_, _, _ = s.react(action) // the first attempt, whose response is lost
		return false, nil, nil
	})
	if _, err := authority.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
		t.Fatal(err)
	}
	if s.count("create") != 2 || s.count("get") != 1 || s.most != 1 {
		t.Errorf("created %d times, read %d times, %d objects: want 2, 1, 1", s.count("create"), s.count("get"), s.most)
	}
	s.wantNone()
}

// TestBrokenWatch breaks watches in every usual way.
func TestBrokenWatch(t *testing.T) {
	gone := apierrors.NewResourceExpired("too old").Status()
	closed := func() watch.Interface {
		w := watch.NewFakeWithChanSize(0, false)
		w.Stop()
		return w
	}
	for name, row := range map[string]struct {
		watch  func(s *apiServer, object *unstructured.Unstructured) (watch.Interface, error)
		reason certmanager.Reason // empty for a leaf
		text   string
	}{
		"closed": {func(*apiServer, *unstructured.Unstructured) (watch.Interface, error) { return closed(), nil }, "", ""},
		"refused once": {func(*apiServer, *unstructured.Unstructured) (watch.Interface, error) {
			return nil, errors.New("connection refused")
		}, "", ""},
		"too old": {func(*apiServer, *unstructured.Unstructured) (watch.Interface, error) {
			w := watch.NewFakeWithChanSize(1, false)
			w.Error(&gone)
			return w, nil
		}, "", ""},
		"signed while not watched": {func(s *apiServer, object *unstructured.Unstructured) (watch.Interface, error) {
			s.objects[object.GetName()] = s.answered(object)
			s.watch = func(int, *unstructured.Unstructured) (watch.Interface, error) {
				return watch.NewFakeWithChanSize(0, false), nil // never sends an event
			}
			return closed(), nil
		}, "", ""},
		"deleted while not watched": {func(s *apiServer, object *unstructured.Unstructured) (watch.Interface, error) {
			delete(s.objects, object.GetName())
			return closed(), nil
		}, certmanager.Deleted, "deleted before it was signed"},
		"deleted": {func(_ *apiServer, object *unstructured.Unstructured) (watch.Interface, error) {
			w := watch.NewFakeWithChanSize(1, false)
			w.Delete(object)
			return w, nil
		}, certmanager.Deleted, "find out what deletes CertificateRequests"},
		"deleted after it was signed": {func(s *apiServer, object *unstructured.Unstructured) (watch.Interface, error) {
			w := watch.NewFakeWithChanSize(1, false)
			w.Delete(s.answered(object))
			return w, nil
		}, "", ""},
		"forbidden": {func(*apiServer, *unstructured.Unstructured) (watch.Interface, error) {
			return nil, apierrors.NewForbidden(requestsResource.GroupResource(), "", errors.New(`User "x" cannot watch resource "certificaterequests"`))
		}, certmanager.Refused, "create, get, list, watch and delete"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				authority := s.load()
				s.watch = func(n int, object *unstructured.Unstructured) (watch.Interface, error) {
					if n == 1 {
						return row.watch(s, object)
					}
					return nil, nil // as usual
				}
				begin := time.Now()
				_, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
				if row.reason != "" {
					wantReason(t, err, row.reason, row.text)
				} else if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > time.Second {
					t.Errorf("took %v", took)
				}
				s.wantNone()
			})
		})
	}
}
