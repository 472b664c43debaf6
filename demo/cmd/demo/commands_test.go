package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/demo/report"
)

// kubeconfig writes a kubeconfig that points to server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c",` +
		`"clusters":[{"name":"c","cluster":{"server":"` + server + `"}}],"contexts":[{"name":"c","context":{"cluster":"c"}}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func execute(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	cmd := newRoot(&out, &progress)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), progress.String(), err
}

func TestRefuses(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	tests := map[string]struct {
		args []string
		want string
	}{
		"no image":      {[]string{"deploy"}, "demo image is empty"},
		"no kubeconfig": {[]string{"namespaces", "--kubeconfig", absent}, "load kubeconfig"},
		"output":        {[]string{"summary", "-o", "yaml"}, "choose text or json"},
		"provider":      {[]string{"provider", "deploy", "venafi"}, `no provider "venafi": choose from tresor, vault, cert-manager`},
		"no definition": {[]string{"provider", "deploy", "cert-manager", "--definitions", absent}, "read cert-manager's definitions"},
		"argument":      {[]string{"remove", "bookstore"}, `unknown command "bookstore"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", kubeconfig(t, "http://127.0.0.1:1"))
			if _, _, err := execute(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// emptyCluster is the API server of an empty cluster.
func emptyCluster(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/version" {
			_, _ = io.WriteString(w, `{"gitVersion":"v1.34.4"}`)
			return
		}
		_, _ = io.WriteString(w, `{"kind":"List","apiVersion":"v1","items":[]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestSummaryOfNothingShowsAndFails(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "demo.svg")
	stdout, stderr, err := execute(t, "summary", "-o", "json", "--timeout", "300ms", "--svg", picture, "--kubeconfig", kubeconfig(t, emptyCluster(t)))
	if err == nil || !strings.Contains(err.Error(), "still waiting for Deployment osm-controller, and 6 more") {
		t.Errorf("error = %v, want what the demo is waiting for", err)
	}
	if !strings.Contains(stderr, "waiting for Deployment osm-controller") {
		t.Errorf("progress = %q, want what the demo is waiting for", stderr)
	}
	var found struct{ Missing []string }
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || len(found.Missing) != 7 {
		t.Errorf("printed %s (%v), want JSON that lists seven missing items", stdout, err)
	}
	if _, err := os.Stat(picture); err == nil {
		t.Error("an incomplete demo was drawn")
	}
}

func TestTresorNeedsNoDeployment(t *testing.T) {
	stdout, _, err := execute(t, "provider", "deploy", "tresor", "--kubeconfig", kubeconfig(t, "http://127.0.0.1:1"))
	if want := "osm:\n  certificateProvider:\n    kind: tresor\n"; err != nil || stdout != want {
		t.Errorf("printed %q, %v, want %q", stdout, err, want)
	}
}

func TestDrawReplacesThePicture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "demo.svg")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := &report.Report{Time: time.Unix(0, 0), Mesh: report.Mesh{Name: "osm", Namespace: "osm-system"}}
	if err := draw(found, file, "make demo"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(content), "<svg ") {
		t.Errorf("file holds %q (%v), want a picture", content, err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v (%v), want the picture alone", entries, err)
	}
}
