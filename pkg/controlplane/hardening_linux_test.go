package controlplane_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// TestForeignNamespaceChangesNoListener lets the owner of namespace evil try to open port 6379 of a pod
// in bank, and to turn its port 8080 from HTTP to bytes, so that a client of his could tell the
// application who it is. It must learn from the mesh alone who calls.
func TestForeignNamespaceChangesNoListener(t *testing.T) {
	pod := bank().Pods[0]
	for name, ref := range map[string]*corev1.ObjectReference{
		"no reference":                  nil,
		"the pod itself":                refTo(pod),
		"a pod of the same name":        {Kind: "Pod", Namespace: "evil", Name: pod.Name},
		"the pod without a namespace":   {Kind: "Pod", Name: pod.Name, UID: pod.UID},
		"the same uid in an own name":   {Kind: "Pod", Namespace: "evil", Name: "mine", UID: pod.UID},
		"another kind of the same name": {Kind: "Node", Name: pod.Name},
	} {
		t.Run(name, func(t *testing.T) {
			objects := bank()
			lead(&objects, "evil", "redis", "tcp", 6379, livePodIP, ref)
			lead(&objects, "evil", "web", "tcp", 8080, livePodIP, ref)
			p := startPod(t, objects, mesh.PodName{Namespace: "bank", Name: "vault-0"})
			p.serveApp(8080)
			p.serveApp(6379)
			p.checkForgery("URI=spiffe://cluster.local/ns/bank/sa/admin")
			conn := p.dial(6379)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bank\r\n\r\n")
			if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("port 6379, which the application opened to itself alone, answers %q, %v", answer, err)
			}
		})
	}
}

// checkForgery asks port 8080 with every name that an application could take for the mesh's word.
func (p *livePod) checkForgery(forged string) {
	p.t.Helper()
	head := []string{"GET / HTTP/1.1", "X-App_Header: mine", "X-Request-Id: mine"}
	for _, name := range []string{
		"X-Forwarded-Client-Cert", "x-forwarded-client-cert", "X_Forwarded_Client_Cert", "x-forwarded_client-cert",
		"X-FORWARDED-CLIENT_CERT", "x.forwarded.client.cert", "x_forwarded-client.cert",
		"X-Envoy-Original-Path", "x-envoy-retry-on", "X-Envoy-Max-Retries", "x-envoy-upstream-rq-timeout-ms", "x_envoy_original_path", "X-Envoy_Internal",
	} {
		head = append(head, name+": "+forged)
	}
	status, got := p.ask(8080, strings.Join(head, "\r\n"))
	if status != http.StatusOK {
		p.t.Fatalf("status %d", status)
	}
	for name, values := range got.Headers {
		for _, value := range values {
			if strings.Contains(value, forged) {
				p.t.Errorf("the application was told %s: %s by a client", name, value)
			}
		}
	}
	told := got.Headers.Values("X-Forwarded-Client-Cert")
	if len(told) != 1 || !strings.HasPrefix(told[0], "By=") || !strings.HasSuffix(told[0], ";URI="+liveClientID) {
		p.t.Errorf("who called, as the application was told: %q", told)
	}
	if got.Headers.Get("X-App_header") != "mine" || got.Headers.Get("X-Request-Id") != "mine" {
		p.t.Errorf("the application's own headers are gone: %v", got.Headers)
	}
}

// TestOwnServicesDisagree lets two Services of the pod's own namespace disagree about the protocol:
// what one of them calls HTTP is looked into.
func TestOwnServicesDisagree(t *testing.T) {
	for _, first := range []string{"a", "z"} { // either side of "vault"
		t.Run(first, func(t *testing.T) {
			objects := bank()
			lead(&objects, "bank", first, "tcp", 8080, livePodIP, refTo(objects.Pods[0]))
			p := startPod(t, objects, mesh.PodName{Namespace: "bank", Name: "vault-0"})
			p.serveApp(8080)
			p.checkForgery("URI=spiffe://cluster.local/ns/bank/sa/admin")
			_, problems := ingest.Build(objects)
			if len(problems) != 1 || !strings.Contains(problems[0].String(), "bank/"+first) || !strings.Contains(problems[0].String(), "bank/vault") {
				t.Errorf("problems %v: want one that names both Services", problems)
			}
		})
	}
}

// TestPaths asks how requests' paths reach the application.
func TestPaths(t *testing.T) {
	p := startPod(t, bank(), mesh.PodName{Namespace: "bank", Name: "vault-0"})
	p.serveApp(8080)
	for path, want := range map[string]string{
		"/a/../admin":                 "/admin",
		"/a/%2e%2e/admin":             "/admin",
		"//admin":                     "/admin",
		"/a//b///c?x=//y":             "/a/b/c?x=//y",
		`/a\b`:                        "/a/b",
		"/api/queues/%2F/mine":        "/api/queues/%2F/mine",
		"/q?next=http://x/../y":       "/q?next=http://x/../y",
		"/plain/path.html?a=b&c=%20d": "/plain/path.html?a=b&c=%20d",
	} {
		status, got := p.ask(8080, "GET "+path+" HTTP/1.1")
		if status != http.StatusOK || got.URI != want {
			t.Errorf("%s: the application saw %q (status %d), want %q", path, got.URI, status, want)
		}
	}
}

// TestHalfOpenHandshakesEnd opens 200 connections that stop in the middle of their handshake, and 200
// that do not begin it, and wants all gone soon, while honest ones pass and a server that speaks first is
// heard.
func TestHalfOpenHandshakesEnd(t *testing.T) {
	const limit = 10 * time.Second // the default
	objects := bank()
	lead(&objects, "bank", "mail", "tcp-server-first", 2525, livePodIP, refTo(objects.Pods[0]))
	p := startPod(t, objects, mesh.PodName{Namespace: "bank", Name: "vault-0"})
	p.serveApp(8080)
	mail := p.pod.Listen(t, "127.0.0.1:2525")
	go func() {
		for {
			conn, err := mail.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 hello\r\n")
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	hello := clientHello(t, p.tlsConfig())
	var half []net.Conn
	for i := range 400 {
		conn := p.plain(8080)
		if i%2 == 0 {
			_, err := conn.Write(hello)
			must(t, err)
		}
		half = append(half, conn)
	}
	begun := time.Now()
	if status, _ := p.ask(8080, "GET / HTTP/1.1"); status != http.StatusOK {
		t.Errorf("an honest request beside them: status %d", status)
	}
	conn := p.dial(2525)
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "220 hello\r\n" {
		t.Errorf("the server that speaks first said %q, %v", line, err)
	}
	open := 0
	for _, c := range half {
		must(t, c.SetReadDeadline(begun.Add(limit+5*time.Second)))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > 0 {
		t.Errorf("%d of %d connections without a handshake are open after %s", open, len(half), time.Since(begun).Round(time.Second))
	}
	// An established connection is not one of them, however quiet.
	if _, err := io.WriteString(conn, "HELO\r\n"); err != nil {
		t.Errorf("the connection to the server that speaks first is gone: %v", err)
	}
}

// clientHello is the first flight of a handshake.
func clientHello(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	go func() {
		_ = tls.Client(theirs, config).Handshake()
		_ = theirs.Close()
	}()
	buffer := make([]byte, 16<<10)
	n, err := ours.Read(buffer)
	must(t, err)
	return buffer[:n]
}

// TestSlowRequestsEnd sends the first half of a request's headers.
func TestSlowRequestsEnd(t *testing.T) {
	p := startPod(t, bank(), mesh.PodName{Namespace: "bank", Name: "vault-0"})
	conn := p.dial(8080)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: ba")
	must(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("headers that never end are waited for: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d, want 408", response.StatusCode)
	}
}
