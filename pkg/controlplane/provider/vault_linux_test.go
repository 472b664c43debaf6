package provider

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// TestVaultAsDocumented sets up a real server by the commands of the documentation, over https, and
// opens it by the flags with a token that has only the documented policy.
func TestVaultAsDocumented(t *testing.T) {
	bao := newBao(t)
	commands := documented(t)
	if len(commands) < 8 {
		t.Fatalf("found only %d commands in the documentation: %q", len(commands), commands)
	}
	for _, command := range commands {
		if strings.Contains(command, "kubernetes_host=") {
			command += " kubernetes_ca_cert=@" + bao.ca // a server in a pod has this
		}
		bao.run(command)
	}
	token := filepath.Join(bao.dir, "token")
	must(t, os.WriteFile(token, []byte(bao.run("vault token create -policy=osm -ttl=1h -field=token")), 0o600))

	rig := newRig(t, parse(t, "--certificate-provider=vault", "--vault-address="+bao.address, "--vault-ca-file="+bao.ca, "--vault-token-file="+token))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opened, err := Open(ctx, rig.cfg)
	must(t, err)
	if !rig.shows(opened.Roots.Trust().Fingerprint) || rig.ready.last() != "" {
		t.Errorf("root in the metrics %t, readiness %q", rig.shows(opened.Roots.Trust().Fingerprint), rig.ready.last())
	}
	cert, err := opened.ServingCert(ctx, ca.ServingConfig{Identity: self, DNSNames: []string{"osm-controller.osm-system.svc"}, Addresses: []net.IP{net.IPv6loopback}})
	must(t, err)
	if cert.Signer() != opened.Roots.Trust().Fingerprint {
		t.Error("the serving certificate is of another CA")
	}
	for usage, want := range map[ca.Usage]x509.ExtKeyUsage{ca.UsageService: x509.ExtKeyUsageServerAuth, ca.UsageProxy: x509.ExtKeyUsageClientAuth} {
		leaf, err := opened.Roots.Issue(ctx, ca.Request{Identity: identity.Identity{Namespace: "shop", ServiceAccount: "store"}, Usage: usage})
		must(t, err)
		pair := leaf.TLS()
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: opened.Roots.Trust().Pool(), KeyUsages: []x509.ExtKeyUsage{want}}); err != nil {
			t.Errorf("%s: %v", usage, err)
		}
		if left := time.Until(leaf.NotAfter); left < 23*time.Hour {
			t.Errorf("%s: lifetime only %s", usage, left)
		}
	}
}

// documented returns the commands for Vault in the documentation, in their order.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/certificates.md")
	must(t, err)
	var commands []string
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok && (strings.HasPrefix(command, "vault ") || strings.Contains(command, "| vault ")) {
			commands = append(commands, command)
		}
	}
	return commands
}

// bao is a real server of Vault's API without persistent storage.
type bao struct {
	t                         *testing.T
	program, dir, address, ca string
}

func newBao(t *testing.T) *bao {
	program := os.Getenv("BAO")
	if program == "" && os.Getenv("CI") != "" {
		t.Fatal("CI needs BAO: set it to what scripts/openbao.sh prints")
	}
	if program == "" {
		t.Skip("SKIPPED: BAO is not set: set it to what scripts/openbao.sh prints")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := listener.Addr().String()
	must(t, listener.Close())
	b := &bao{t: t, program: program, dir: t.TempDir(), address: "https://" + at}
	b.ca = filepath.Join(b.dir, "vault-ca.pem")
	log, err := os.Create(filepath.Join(b.dir, "log"))
	must(t, err)
	server := exec.Command(program, "server", "-dev", "-dev-tls", "-dev-tls-cert-dir="+b.dir, "-dev-listen-address="+at, "-dev-root-token-id=root", "-dev-no-store-token")
	server.Env, server.Stdout, server.Stderr = append(os.Environ(), "HOME="+b.dir), log, log
	must(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill() // may have ended
		_ = server.Wait()         // killed: always an error
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s", text)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := b.command("vault status").Run(); err == nil {
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not respond")
		}
	}
}

// command is a shell's, in which vault is the program.
func (b *bao) command(text string) *exec.Cmd {
	cmd := exec.CommandContext(b.t.Context(), "bash", "-c", `vault() { "$PROGRAM" "$@"; }; `+text)
	cmd.Env = append(os.Environ(), "PROGRAM="+b.program, "BAO_ADDR="+b.address, "BAO_CACERT="+b.ca, "BAO_TOKEN=root", "HOME="+b.dir)
	return cmd
}

func (b *bao) run(text string) string {
	b.t.Helper()
	out, err := b.command(text).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v: %s", text, err, out)
	}
	return string(out)
}
