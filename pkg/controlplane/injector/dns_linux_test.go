package injector

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/osm-edge/osm/tests/redirecttest"
)

// TestEnvoyAsksForTheAbsoluteName starts Envoy where a search domain has a record for every name, and reads what
// Envoy asks the DNS server for first.
func TestEnvoyAsksForTheAbsoluteName(t *testing.T) {
	const absolute = "osm-controller.osm-system.svc.corp.example."
	for name, test := range map[string]struct {
		change func(*proxyBootstrap)
		search string
		want   string
	}{
		"the pod's resolver":    {search: "false", want: absolute},
		"the cluster's servers": {search: "true", want: absolute},
		"a relative name would not do": {search: "false", want: absolute + "wildcard.example.", change: func(b *proxyBootstrap) {
			b.controllerHost = strings.TrimSuffix(b.controllerHost, ".")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := testSettings()
			settings.ClusterDomain = "corp.example"
			b := newProxyBootstrap(settings, nil)
			b.resolvers = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			if test.change != nil {
				test.change(&b)
			}
			if got := firstQuestion(t, settings, b, test.search); got != test.want {
				t.Errorf("Envoy asks for %s, want %s", got, test.want)
			}
		})
	}
}

// firstQuestion starts Envoy with the search domain in its environment, where c-ares looks as in resolv.conf.
func firstQuestion(t *testing.T, settings Settings, b proxyBootstrap, withoutSearch string) string {
	t.Helper()
	binary := forEverybody(t, envoyBinary(t))
	pod := redirecttest.New(t)
	questions := make(chan string, 16)
	pod.Do(func() {
		server, err := net.ListenPacket("udp", "127.0.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		go answerAll(server, questions)
	})
	b.certDir = newCertificates(t).dir
	text, err := b.text()
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, `"no_default_search_domain":true`, `"no_default_search_domain":`+withoutSearch)
	var output bytes.Buffer
	cmd := exec.Command(binary, sidecarArgs(settings, "default", "bookstore", expand(text))...)
	cmd.Env = []string{"LOCALDOMAIN=wildcard.example", "RES_OPTIONS=ndots:5"}
	cmd.Stdout, cmd.Stderr = &output, &output
	pod.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said:\n%s", output.String())
		}
	})
	select {
	case question := <-questions:
		return question
	case <-time.After(patience):
		t.Fatal("Envoy asks for nothing")
		return ""
	}
}

// answerAll has an address for every name.
func answerAll(server net.PacketConn, questions chan<- string) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := server.ReadFrom(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		question := message.Questions[0]
		message.Response, message.Authoritative, message.Additionals = true, true, nil
		if question.Type == dnsmessage.TypeA {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 2}},
			}}
		}
		if answer, err := message.Pack(); err == nil {
			_, _ = server.WriteTo(answer, from)
		}
		select {
		case questions <- strings.ToLower(question.Name.String()):
		default:
		}
	}
}
