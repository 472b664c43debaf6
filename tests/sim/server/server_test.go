package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15"
	tests := map[string]struct {
		text string
		want time.Duration
		bad  bool
	}{
		"plain":              {"7 (controller)" + rest, 2 * time.Second, false},
		"parentheses, space": {"7 (a) b (c)" + rest, 2 * time.Second, false},
		"no name":            {"7 controller" + rest, 0, true},
		"too short":          {"7 (a) S 1 2", 0, true},
		"no number":          {strings.Replace("7 (a)"+rest, "150", "x", 1), 0, true},
	}
	for name, tt := range tests {
		if got, _, err := parseStat(tt.text); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, children, _ := parseStat("7 (controller)" + rest); children != 270*time.Millisecond {
		t.Errorf("children used %v", children)
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  100 20 3 1000 2000 4 5 600 0 0\ncpu0 1 2 3 4 5 6 7 8 9\n")
	if err != nil || got != 7320*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8\n", "cpu 1 2\n", "cpu a 2 3 4 5 6 7 8\n"} {
		if _, err := parseMachine(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
	if others, err := Others(); err != nil || others <= 0 {
		t.Errorf("got %v, %v", others, err)
	}
}

func TestParseStatus(t *testing.T) {
	rss, peak, err := parseStatus("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	if err != nil || rss != 1<<20 || peak != 2<<20 {
		t.Errorf("got %d, %d, %v", rss, peak, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tmany\nVmHWM:\t1 kB\n"} {
		if _, _, err := parseStatus(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	u, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS < 1<<20 || u.PeakRSS < u.RSS || u.CPU < 0 {
		t.Errorf("got %+v", u)
	}
}

func TestMetrics(t *testing.T) {
	m, err := parseMetrics(`# HELP a text
# TYPE a counter
a 3
built{type="cds"} 1e+02
built{type="eds"} 7
hist{le="+Inf"} 2
`)
	if err != nil {
		t.Fatal(err)
	}
	if m.Get("a") != 3 || m.Get("absent") != 0 {
		t.Errorf("got %v", m)
	}
	built, ok := m.ByLabel("built", "type")
	if !ok || len(built) != 2 || built["cds"] != 100 || built["eds"] != 7 {
		t.Errorf("got %v, %t", built, ok)
	}
	if _, ok := m.ByLabel("absent", "type"); ok {
		t.Error("found an absent metric")
	}
	for _, bad := range []string{"alone\n", "a b\n"} {
		if _, err := parseMetrics(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

func TestProcess(t *testing.T) {
	p, err := Start("sleeper", t.TempDir(), "/bin/sh", "-c", "echo hello; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), "its output", func(context.Context) error {
		if p.Tail() != "hello" {
			return os.ErrNotExist
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Kill() // again does no harm
	if err := syscall.Kill(p.PID(), 0); err == nil {
		t.Error("still running after Kill")
	}
}

func TestProcessThatEnds(t *testing.T) {
	p, err := Start("loser", t.TempDir(), "/bin/sh", "-c", "echo no luck >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), "luck", func(context.Context) error { return os.ErrNotExist })
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v, want its output", err)
	}
	if _, err := Start("nobody", t.TempDir(), "/nonexistent"); err == nil {
		t.Error("started a nonexistent program")
	}
}

func TestStop(t *testing.T) {
	gentle, err := Start("gentle", t.TempDir(), "/bin/sh", "-c", "exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	gentle.Stop(time.Minute)
	deaf, err := Start("deaf", t.TempDir(), "/bin/sh", "-c", `trap "" TERM; echo up; while :; do sleep 1000; done`)
	if err != nil {
		t.Fatal(err)
	}
	if err := deaf.await(t.Context(), "trap", func(context.Context) error {
		if deaf.Tail() != "up" {
			return os.ErrNotExist
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	deaf.Stop(time.Millisecond)
	for _, p := range []*Process{gentle, deaf} {
		select {
		case <-p.Done():
		default:
			t.Errorf("%s is still running after Stop", p.name)
		}
	}
}

// TestAuthority serves TLS with a certificate of one authority and connects with one of another authority that
// was loaded from the first one's files.
func TestAuthority(t *testing.T) {
	root, err := NewAuthority("root")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := store(t.TempDir(), "root", tls.Certificate{Certificate: [][]byte{root.cert.Raw}, PrivateKey: root.key})
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := os.ReadFile(certFile)
	key, _ := os.ReadFile(keyFile)
	loaded, err := LoadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := root.loopback("server")
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.TLS.PeerCertificates[0].URIs[0].String()
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool()}
	s.StartTLS()
	defer s.Close()

	config, err := ProxyTLS(loaded, "ns", "sa")
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName, config.NextProtos = "localhost", nil
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	if err := answersOK(t.Context(), client, s.URL); err != nil {
		t.Fatal(err)
	}
	if seen != "spiffe://cluster.local/ns/ns/sa/sa" {
		t.Errorf("the server saw %q", seen)
	}
	if _, err := LoadAuthority(cert, nil); err == nil {
		t.Error("loaded a root without a key")
	}
	if _, err := root.cert.Verify(x509.VerifyOptions{Roots: loaded.Pool()}); err != nil {
		t.Errorf("the pool does not hold the root: %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(3)
	if err != nil || len(ports) != 3 || ports[0] == ports[1] || ports[1] == ports[2] {
		t.Errorf("got %v, %v", ports, err)
	}
}

func TestGet(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		if _, err := w.Write([]byte("a 1\n")); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if m, err := scrape(t.Context(), s.URL+"/metrics"); err != nil || m.Get("a") != 1 {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := get(t.Context(), s.URL+"/readyz"); err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("got %v, want the response", err)
	}
}

func TestProgramsAreFound(t *testing.T) {
	p := Programs{Etcd: "/bin/sh", APIServer: "/bin/sh", ControlPlane: "/nonexistent"}
	if _, err := p.Find(t.Context(), ".", t.TempDir()); err == nil {
		t.Error("found a nonexistent program")
	}
	p.ControlPlane = script(t, "echo '--debug-address string'")
	if found, err := p.Find(t.Context(), ".", t.TempDir()); err != nil || !found.debugs() {
		t.Errorf("%+v, %v", found, err)
	}
	p.ControlPlane = script(t, "echo --kubeconfig")
	if found, err := p.Find(t.Context(), ".", t.TempDir()); err != nil || found.debugs() {
		t.Errorf("%+v, %v", found, err)
	}
	p.ControlPlane = script(t, "exit 1")
	if _, err := p.Find(t.Context(), ".", t.TempDir()); err == nil {
		t.Error("a program that fails is accepted")
	}
	if repo, err := Repo(t.Context()); err != nil || !strings.HasPrefix(mustGetwd(t), repo) {
		t.Errorf("got %q, %v", repo, err)
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// script is a program.
func script(t *testing.T, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}
