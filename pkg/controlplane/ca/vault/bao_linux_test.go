package vault_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/osm-edge/osm/tests/realapi"
)

// processTimeout is how long another process may take to get anything done.
const processTimeout = 30 * time.Second

// bao is an OpenBao server as a process: a real server of Vault's API. It listens on loopback.
type bao struct {
	t       *testing.T
	program string
	dir     string
	port    string
	scheme  string
	client  *http.Client
	process *realapi.Process
	key     string // unseals
	root    string // token that may do everything
}

// newBao prepares a server without starting it. Its state is lost when it stops.
func newBao(t *testing.T) *bao {
	b := &bao{t: t, program: realapi.Program(t, "BAO", "scripts/openbao.sh"), dir: t.TempDir(), port: realapi.FreePort(t), scheme: "http", client: &http.Client{}}
	t.Cleanup(b.client.CloseIdleConnections)
	b.configure(`storage "inmem" {}`, "tls_disable = true")
	return b
}

// durable makes the server keep its state on disk. It then starts more slowly.
func (b *bao) durable() {
	data := filepath.Join(b.dir, "data")
	must(b.t, os.MkdirAll(data, 0o700))
	b.configure(fmt.Sprintf(`storage "raft" {
  path = %q
  node_id = "test"
  performance_multiplier = 1
}`, data), "tls_disable = true")
}

func (b *bao) configure(storage, listener string) {
	config := fmt.Sprintf(`%s
cluster_addr = "http://127.0.0.1:%s"
api_addr = %q
listener "tcp" {
  address = "127.0.0.1:%s"
  %s
}
`, storage, realapi.FreePort(b.t), b.address(), b.port, listener)
	must(b.t, os.WriteFile(filepath.Join(b.dir, "config.hcl"), []byte(config), 0o600))
}

// withTLS makes the server use https with a certificate.
func (b *bao) withTLS(certPEM, keyPEM []byte) {
	for name, content := range map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM} {
		must(b.t, os.WriteFile(filepath.Join(b.dir, name), content, 0o600))
	}
	b.scheme = "https"
	// The test's own requests: what they verify is not under test.
	b.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // #nosec G402
	b.configure(`storage "inmem" {}`, fmt.Sprintf("tls_cert_file = %q\n  tls_key_file = %q", filepath.Join(b.dir, "tls.crt"), filepath.Join(b.dir, "tls.key")))
}

// running returns a server that is initialised and unsealed.
func running(t *testing.T) *bao {
	b := newBao(t)
	b.start()
	b.initialise()
	return b
}

func (b *bao) address() string { return b.scheme + "://127.0.0.1:" + b.port }

// start starts the process and waits until it responds, sealed.
func (b *bao) start() {
	b.process = realapi.Run(b.t, filepath.Join(b.dir, "bao.log"), b.program, "server", "-config="+filepath.Join(b.dir, "config.hcl"))
	eventually(b.t, "OpenBao to respond", func() error {
		_, _, err := b.try(http.MethodGet, "sys/seal-status", nil)
		return err
	})
}

func (b *bao) stop() { b.process.Stop() }

func (b *bao) initialise() {
	answer := b.write("sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	b.key = answer["keys"].([]any)[0].(string)
	b.root = answer["root_token"].(string)
	b.unseal()
}

func (b *bao) seal() { b.write("sys/seal", nil) }

func (b *bao) unseal() {
	b.write("sys/unseal", map[string]any{"key": b.key})
	eventually(b.t, "OpenBao to be active", func() error {
		status, body, err := b.try(http.MethodGet, "sys/health", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
}

// write writes as an operator does, with the root token, and returns the data of the response.
func (b *bao) write(path string, body map[string]any) map[string]any {
	b.t.Helper()
	return b.request(http.MethodPost, path, body)
}

func (b *bao) remove(path string) { b.request(http.MethodDelete, path, nil) }

func (b *bao) request(method, path string, body map[string]any) map[string]any {
	b.t.Helper()
	status, text, err := b.try(method, path, body)
	if err != nil || status >= 300 {
		b.t.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
	var answer map[string]any
	if len(text) > 0 {
		must(b.t, json.Unmarshal(text, &answer))
	}
	if data, ok := answer["data"].(map[string]any); ok && len(data) > 0 {
		return data
	}
	if auth, ok := answer["auth"].(map[string]any); ok {
		return auth
	}
	return answer
}

func (b *bao) try(method, path string, body map[string]any) (int, []byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(context.Background(), method, b.address()+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-Vault-Token", b.root)
	response, err := b.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// eventually waits until attempt succeeds.
func eventually(t *testing.T, what string, attempt func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(processTimeout); ; <-tick.C {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s: %v", processTimeout, what, err)
		}
	}
}
