package cluster

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/osm-edge/osm/tests/reach"
)

func serve(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestAskGoesNowhereElse(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+elsewhere+"/loot", http.StatusFound)
	})
	if _, err := Ask(t.Context(), address, "stats", 10); err == nil || !strings.Contains(err.Error(), "is a redirect to \"http://"+elsewhere+"/loot\", which is not followed") {
		t.Errorf("got %v", err)
	}
}

func TestAskReadsNoMoreThanItsLimit(t *testing.T) {
	size := 0
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", size)) }) //nolint:errcheck // a test server
	for size = 9; size < 12; size++ {
		answer, err := Ask(t.Context(), address, "stats", 10)
		if size <= 10 && (err != nil || len(answer.Body) != size) {
			t.Errorf("%d bytes: %v, %v", size, answer, err)
		}
		if size > 10 && (err == nil || !strings.Contains(err.Error(), "more than 10 bytes")) {
			t.Errorf("%d bytes: got %v, want a refusal", size, err)
		}
	}
}

// An answer that never ends ends with the context.
func TestAskEndsInTime(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "x")   //nolint:errcheck // a test server
		w.(http.Flusher).Flush() //nolint:forcetypeassert // httptest's can
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, address, "stats", 10); err == nil || !strings.Contains(err.Error(), "read the answer") {
		t.Errorf("got %v", err)
	}
}

// A pod that is asked by way of the API server, such as a stolen controller, cannot have the user's
// token sent to itself.
func TestATokenFollowsNoRedirect(t *testing.T) {
	thief := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server was sent %q", r.Header.Get("Authorization"))
	})
	asked := ""
	// Tokens go over TLS only.
	apiServer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Authorization")
		http.Redirect(w, r, "http://"+thief+"/loot", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(apiServer.Close)
	flags, insecure, token := genericclioptions.NewConfigFlags(false), true, "admin"
	flags.APIServer, flags.BearerToken, flags.Insecure = &apiServer.URL, &token, &insecure
	clients, err := NewClients(flags)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "osm-controller-0", Namespace: "osm-system"}}
	_, err = ProxyGet(t.Context(), clients.Kube, pod, 9091, "/version")
	if err == nil || !strings.Contains(err.Error(), "is not followed") {
		t.Errorf("got %v", err)
	}
	if asked != "Bearer admin" {
		t.Errorf("the API server was sent %q: the test shows nothing", asked)
	}
}

// What a pod answers through the API server is bounded; what the API server itself answers is not,
// not even about a namespace that is called proxy.
func TestProxyGetReadsNoMoreThanItsLimit(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		io.CopyN(w, spaces{}, maxPage+1) //nolint:errcheck // the client may end it
	})
	flags, url := genericclioptions.NewConfigFlags(false), "http://"+address
	flags.APIServer = &url
	clients, err := NewClients(flags)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "osm-controller-0", Namespace: "osm-system"}}
	if body, err := ProxyGet(t.Context(), clients.Kube, pod, 9091, "/metrics"); err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes") {
		t.Errorf("%d bytes of a pod: got %v, want a refusal", len(body), err)
	}
	body, err := clients.Kube.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/proxy/pods").DoRaw(t.Context())
	if err != nil || len(body) != maxPage+1 {
		t.Errorf("%d bytes of the API server: %v", len(body), err)
	}
}

// spaces is a text that never ends.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Envoy's filters are regular expressions.
func TestAskTakesRegularExpressions(t *testing.T) {
	const filter = `^(a|b)\.c{1,2}$`
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.URL.Query().Get("filter")) //nolint:errcheck // a test server
	})
	got, err := Ask(t.Context(), address, "stats?filter="+filter, 100)
	if err != nil || string(got.Body) != filter {
		t.Errorf("the filter arrives as %+v, %v", got, err)
	}
}

// Whatever the query, the request goes to the address and to the path and parameters of the query.
func FuzzAskURL(f *testing.F) {
	for _, seed := range []string{"stats?filter=a.b", "/config_dump?include_eds", "//evil/x", "http://evil/", "@evil", "a b", "%2e%2e/x", "%zz", "\\evil", "#x", "..//?#", ":80", "?"} {
		f.Add(seed)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, query string) {
		const address = "127.0.0.1:15000"
		target, err := askURL(address, query)
		outcomes.Error(err)
		if err != nil {
			return
		}
		request, err := http.NewRequest(http.MethodGet, target.String(), nil)
		if err != nil {
			t.Fatalf("%q was accepted, and then: %v", query, err)
		}
		if u := request.URL; u.Host != address || u.Scheme != "http" || u.User != nil || !strings.HasPrefix(u.Path, "/") || u.Fragment != "" || request.Host != address {
			t.Fatalf("%q leads to %v", query, u)
		}
		path, parameters, _ := strings.Cut(strings.TrimPrefix(query, "/"), "?")
		if want := escapeParameters(parameters); request.URL.RawQuery != want {
			t.Fatalf("%q asks with %q, want %q", query, request.URL.RawQuery, want)
		}
		if want := target.Path; request.URL.Path != want {
			t.Fatalf("%q (%q) asks for %q, want %q", query, path, request.URL.Path, want)
		}
	})
}
