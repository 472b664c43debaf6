// Package apitest is an API server in memory for tests of the CLI. The real clients, Helm's included,
// talk to it over HTTP, so no part of the CLI has to be faked.
//
// It is not Kubernetes: it validates and defaults nothing, and simulates only the controllers that the CLI
// waits for: Deployments get pods that are ready, or stuck for a reason that the test chooses; Jobs
// complete or fail. Its invariant: everything that a client has written can be read back with the same
// labels, and a dry run changes nothing.
package apitest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Object is a Kubernetes object as a tree of maps and lists.
type Object = map[string]any

// Server is an API server in memory. Its fields are set before Start, later only by Fix.
type Server struct {
	Version     string   // default v1.33.0
	Metrics     bool     // serve metrics.k8s.io
	CertManager bool     // serve cert-manager.io
	Old         bool     // do not serve MeshRootCertificates
	Deny        []string // "verb resource" that access reviews refuse, such as "create clusterroles"
	Refuse      []string // "METHOD resource" that is rejected, such as "POST jobs"
	// DenyAccounts is Deny for reviews about other users.
	DenyAccounts []string
	// Stuck is the waiting reason of a component's containers, or "Unschedulable", by app label. Of several, such as
	// "Unschedulable,ImagePullBackOff", each list of pods shows the next one, and the last one stays.
	Stuck    map[string]string
	FailJobs bool              // Jobs fail instead of completing
	Versions map[string]string // pod name -> body of its /version
	Pages    map[string]string // pod name and path, such as "pod-0/metrics" -> body
	// Series are Pages that change: each GET shows the next body, and the last one stays.
	Series map[string][]string
	// Rotation are the pages of a controller that drives a rotation; see Page.
	Rotation  []Page
	Hanging   map[string]bool // names of pods that accept requests and never respond
	Fenced    bool            // the API server cannot connect to pods: only port-forwards lead to them
	OneNode   bool            // every pod runs on node-1
	Logs      string          // what every container has logged
	Forbidden bool            // refuse every request but the version

	http    *httptest.Server
	lock    sync.Mutex
	objects map[string]Object
	counter int
	writes  []string // "POST deployments" and so on, dry runs excepted
}

// Start starts the server on a free loopback port. Close must be called.
func (s *Server) Start() {
	if s.Version == "" {
		s.Version = "v1.33.0"
	}
	s.objects = map[string]Object{}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.Apply(namespace("default"), namespace("kube-system"))
	for i := range 3 {
		s.Apply(node(fmt.Sprintf("node-%d", i+1)))
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.writes = nil
}

// StartFor starts the server until the test ends, and points KUBECONFIG to it.
func (s *Server) StartFor(t testing.TB) {
	t.Helper()
	s.Start()
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(s.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
}

// Close stops the server.
func (s *Server) Close() { s.http.Close() }

// URL is the address of the server.
func (s *Server) URL() string { return s.http.URL }

// Kubeconfig is a kubeconfig file for the server.
func (s *Server) Kubeconfig() string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
users: [{name: test, user: {}}]
`, s.http.URL)
}

// Writes returns the requests that changed something, in order.
func (s *Server) Writes() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.writes)
}

// Fix changes the behavior of the server and runs its controllers.
func (s *Server) Fix(change func(*Server)) {
	s.lock.Lock()
	defer s.lock.Unlock()
	change(s)
	s.reconcile()
}

// Forget clears what Writes returns.
func (s *Server) Forget() {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.writes = nil
}

// Await waits for a write such as "POST deployments", for at most a minute.
func (s *Server) Await(write string) error {
	return await(write, func() bool { return slices.Contains(s.Writes(), write) })
}

// AwaitPages returns when all pages of Rotation but the last have been served, or fails after a minute.
func (s *Server) AwaitPages() error {
	return await("look at the last page", func() bool {
		s.lock.Lock()
		defer s.lock.Unlock()
		return len(s.Rotation) == 1
	})
}

func await(what string, happened func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !happened() {
		select {
		case <-ticker.C:
		case <-deadline:
			return fmt.Errorf("no %q within a minute", what)
		}
	}
	return nil
}

// request is a parsed URL path.
type request struct {
	*http.Request
	kind                         kind
	namespace, name, subresource string
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.hangs(r) {
		<-r.Context().Done()
		return
	}
	if s.forward(w, r) {
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.discovery(w, r) {
		return
	}
	if s.Forbidden {
		fail(w, http.StatusForbidden, "Forbidden", "user cannot do this", "", "")
		return
	}
	parsed, err := s.parse(r)
	if err != nil {
		fail(w, http.StatusNotFound, "NotFound", err.Error(), "", "")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error(), "", "")
		return
	}
	if body, err = plainJSON(r, body); err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error(), "", "")
		return
	}
	s.dispatch(w, parsed, body)
}

func (s *Server) dispatch(w http.ResponseWriter, r request, body []byte) {
	if slices.Contains(s.Refuse, r.Method+" "+r.kind.resource) {
		fail(w, http.StatusForbidden, "Forbidden", fmt.Sprintf("%s is forbidden: user cannot do this", r.kind.resource), r.kind.resource, r.name)
		return
	}
	dry := r.URL.Query().Get("dryRun") != ""
	if r.Method != http.MethodGet && !dry && r.kind.group != reviews {
		s.writes = append(s.writes, r.Method+" "+r.kind.resource)
	}
	switch {
	case r.URL.Query().Get("watch") != "":
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "watch is not supported", "", "")
	case r.kind.group == reviews:
		s.review(w, r, body)
	case r.subresource == "log":
		io.WriteString(w, s.Logs) //nolint:errcheck // a test server
	case strings.HasPrefix(r.subresource, "proxy"):
		s.proxy(w, r)
	case r.Method == http.MethodGet && r.name == "":
		s.serveList(w, r)
	case r.Method == http.MethodGet:
		s.serveObject(w, r)
	case r.Method == http.MethodPost:
		s.create(w, r, body, dry)
	case r.Method == http.MethodPut, r.Method == http.MethodPatch:
		s.change(w, r, body, dry)
	case r.Method == http.MethodDelete:
		s.remove(w, r, body, dry)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method, "", "")
	}
}

// parse reads /api/v1/... and /apis/group/version/... paths.
func (s *Server) parse(r *http.Request) (request, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group, version string
	switch {
	case len(parts) > 2 && parts[0] == "api":
		version, parts = parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, version, parts = parts[1], parts[2], parts[3:]
	default:
		return request{}, errors.New("the server could not find the requested resource")
	}
	out := request{Request: r}
	if parts[0] == "namespaces" && len(parts) > 2 {
		out.namespace, parts = parts[1], parts[2:]
	}
	for _, kind := range s.kinds() {
		if kind.group == group && kind.version == version && kind.resource == parts[0] {
			out.kind = kind
		}
	}
	if out.kind.kind == "" {
		return request{}, errors.New("the server could not find the requested resource")
	}
	if len(parts) > 1 {
		out.name = parts[1]
	}
	out.subresource = strings.Join(parts[min(2, len(parts)):], "/")
	return out, nil
}
