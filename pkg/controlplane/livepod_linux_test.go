package controlplane_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
	"github.com/osm-edge/osm/tests/redirecttest"
)

const (
	liveClientIP = "10.77.0.1"
	liveAdmin    = "127.0.0.1:15000"
)

// livePod is a pod whose proxy is a real Envoy behind real redirection, with the inbound configuration
// that the pipeline makes of objects, and a client in another network namespace.
type livePod struct {
	t           *testing.T
	pod, client *redirecttest.Namespace
	identity    tls.Certificate // the client's, of the mesh
	// issue makes a certificate of the mesh's root.
	issue func(spiffeID string) (certPEM, keyPEM []byte)
}

// startPod starts the proxy of a pod at livePodIP. With rules, permissive mode is off.
func startPod(t *testing.T, objects ingest.Objects, name mesh.PodName, rules ...*mesh.Rule) *livePod {
	t.Helper()
	return startProxy(t, objects, name, (*livePod).bootstrap, rules...)
}

// startProxy starts the proxy of a pod at livePodIP with what bootstrap makes of its configuration.
func startProxy(t *testing.T, objects ingest.Objects, name mesh.PodName, bootstrap func(p *livePod, view envoy.View, dir string) []byte, rules ...*mesh.Rule) *livePod {
	t.Helper()
	binary := envoyBinary(t)
	p := &livePod{t: t, pod: redirecttest.New(t), client: redirecttest.New(t)}
	redirecttest.Connect(t, p.pod, p.client, livePodIP+"/24", liveClientIP+"/24")
	var err error
	if p.pod.Do(func() { err = redirect.Apply(redirect.Default()) }); err != nil {
		t.Fatal(err)
	}
	snapshot, problems := ingest.Build(objects)
	for _, problem := range problems {
		t.Log(problem)
	}
	config, err := envoy.NewBuilder(nil).Build(withRules(snapshot, rules))
	if err != nil {
		t.Fatal(err)
	}
	view, w := config.View(name)
	if w == nil {
		t.Fatalf("%s is no workload", name)
	}
	// t.TempDir is closed to Envoy's user.
	dir, err := os.MkdirTemp("", "osm-live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	p.writeSecrets(dir)
	must(t, os.WriteFile(filepath.Join(dir, "envoy.json"), bootstrap(p, view, dir), 0o644))
	p.run(dir, binary)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bootstrap holds the inbound listener and what it needs, with its routes inside and its secrets in files.
func (p *livePod) bootstrap(view envoy.View, dir string) []byte {
	p.t.Helper()
	routes := map[string]any{}
	for _, r := range view.All(envoy.Routes) {
		routes[r.Name] = p.decoded(r)
	}
	var listeners, clusters []any
	for _, r := range view.Own.Set(envoy.Listeners).All() {
		listeners = append(listeners, withoutXDS(p.decoded(r), routes, dir))
	}
	for _, r := range view.Own.Set(envoy.Clusters).All() {
		clusters = append(clusters, p.decoded(r))
	}
	for _, name := range []string{"local", "blackhole"} {
		clusters = append(clusters, p.decoded(view.Shared.Set(envoy.Clusters).Named(name)))
	}
	return p.static(listeners, clusters)
}

// static is a bootstrap that asks no control plane.
func (p *livePod) static(listeners, clusters []any) []byte {
	p.t.Helper()
	host, port, _ := net.SplitHostPort(liveAdmin)
	text, err := json.Marshal(map[string]any{
		"node":  map[string]any{"id": "live", "cluster": "live"},
		"admin": map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": host, "port_value": json.Number(port)}}},
		"bootstrap_extensions": []any{map[string]any{"name": "envoy.bootstrap.internal_listener",
			"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}}},
		"static_resources": map[string]any{"listeners": listeners, "clusters": clusters},
	})
	must(p.t, err)
	return text
}

func (p *livePod) decoded(r *envoy.Resource) any {
	var decoded any
	must(p.t, json.Unmarshal(resourceJSON(p.t, r), &decoded))
	return decoded
}

// withoutXDS puts routes and the place of secrets where a configuration refers to its control plane.
func withoutXDS(value any, routes map[string]any, secrets string) any {
	switch v := value.(type) {
	case map[string]any:
		if rds, ok := v["rds"].(map[string]any); ok {
			name, _ := rds["route_config_name"].(string)
			v["route_config"] = routes[name]
			delete(v, "rds")
		}
		if _, ok := v["sds_config"]; ok {
			v["sds_config"] = map[string]any{"path_config_source": map[string]any{"path": fmt.Sprintf("%s/%s.json", secrets, v["name"])}, "resource_api_version": "V3"}
		}
		for key, child := range v {
			v[key] = withoutXDS(child, routes, secrets)
		}
	case []any:
		for i, child := range v {
			v[i] = withoutXDS(child, routes, secrets)
		}
	}
	return value
}

// writeSecrets makes a root, the pod's certificate and the client's.
func (p *livePod) writeSecrets(dir string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	must(p.t, err)
	p.issue = func(id string) (certPEM, keyPEM []byte) {
		leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(p.t, err)
		uri, err := url.Parse(id)
		must(p.t, err)
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter, URIs: []*url.URL{uri},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), key)
		must(p.t, err)
		keyDER, err := x509.MarshalECPrivateKey(leafKey)
		must(p.t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	}
	p.become(liveClientID)
	cert, leafKey := p.issue("spiffe://cluster.local/ns/bank/sa/vault")
	inline := func(text []byte) map[string]any { return map[string]any{"inline_string": string(text)} }
	const secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	for name, content := range map[string]map[string]any{
		envoy.SecretWorkload:    {"tls_certificate": map[string]any{"certificate_chain": inline(cert), "private_key": inline(leafKey)}},
		envoy.SecretTrustBundle: {"validation_context": map[string]any{"trusted_ca": inline(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}},
	} {
		content["@type"], content["name"] = secret, name
		text, err := json.Marshal(map[string]any{"resources": []any{content}})
		must(p.t, err)
		must(p.t, os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644))
	}
}

// become gives the client another identity.
func (p *livePod) become(spiffeID string) {
	p.t.Helper()
	var err error
	p.identity, err = tls.X509KeyPair(p.issue(spiffeID))
	must(p.t, err)
}

// run starts Envoy as its own user, whose traffic is not redirected, and waits until it is ready.
func (p *livePod) run(dir, binary string) {
	p.t.Helper()
	program := filepath.Join(dir, "envoy") // root's cache is root's alone
	if os.Link(binary, program) != nil {
		content, err := os.ReadFile(binary)
		must(p.t, err)
		must(p.t, os.WriteFile(program, content, 0o755))
	}
	var output bytes.Buffer
	cmd := exec.Command(program, "-c", filepath.Join(dir, "envoy.json"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: api.ProxyUID, Gid: api.ProxyUID}}
	var err error
	p.pod.Do(func() { err = cmd.Start() })
	must(p.t, err)
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("Envoy said:\n%s", output.String())
		}
	})
	ticker, deadline := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer ticker.Stop()
	for p.admin("/ready") != "LIVE\n" {
		select {
		case <-deadline:
			p.t.Fatal("Envoy does not become ready")
		case <-ticker.C:
		}
	}
}

// admin reads a page of Envoy's administration; it is empty when there is none.
func (p *livePod) admin(path string) string {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return p.pod.Dial(net.Dialer{Timeout: time.Second}, liveAdmin, 0)
	}}}
	response, err := client.Get("http://" + liveAdmin + path)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}

// liveClientID is who the client proves to be.
const liveClientID = "spiffe://cluster.local/ns/shop/sa/buyer"

// plain connects to a port of the pod without TLS.
func (p *livePod) plain(port int) net.Conn {
	p.t.Helper()
	conn, err := p.client.Dial(net.Dialer{Timeout: 10 * time.Second}, fmt.Sprintf("%s:%d", livePodIP, port), 0)
	must(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dial connects to a port of the pod as another proxy of the mesh does.
func (p *livePod) dial(port int) *tls.Conn {
	p.t.Helper()
	conn := tls.Client(p.plain(port), p.tlsConfig())
	must(p.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	must(p.t, conn.Handshake())
	return conn
}

func (p *livePod) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.identity}, NextProtos: []string{"osm"},
		InsecureSkipVerify: true,
	}
}

// seen is a request as an application saw it.
type seen struct {
	URI     string
	Headers http.Header
}

// serveApp is an application on a port of the pod's loopback that tells what it saw.
func (p *livePod) serveApp(port int) { p.serveAppAt("127.0.0.1", port) }

// serveAppAt is one on another address of the pod's.
func (p *livePod) serveAppAt(address string, port int) {
	listener := p.pod.Listen(p.t, fmt.Sprintf("%s:%d", address, port))
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(seen{r.RequestURI, r.Header})
	})}
	p.t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// ask sends a request, written out, to a port of the pod.
func (p *livePod) ask(port int, head string) (status int, got seen) {
	p.t.Helper()
	conn := p.dial(port)
	defer func() { _ = conn.Close() }()
	_, err := io.WriteString(conn, head+"\r\nHost: bank\r\nConnection: close\r\n\r\n")
	must(p.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(p.t, err)
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		must(p.t, json.NewDecoder(response.Body).Decode(&got))
	}
	return response.StatusCode, got
}
