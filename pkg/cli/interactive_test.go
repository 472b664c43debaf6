package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/tests/apitest"
)

// person answers questions in order, as one at a terminal would.
type person struct {
	confirms []bool
	answers  []string
	asked    []string
}

func (p *person) Interactive() bool { return true }

func (p *person) Confirm(question string) (bool, error) {
	p.asked = append(p.asked, question)
	answer := p.confirms[0]
	p.confirms = p.confirms[1:]
	return answer, nil
}

func (p *person) Input(question, preset string, validate func(string) error) (string, error) {
	p.asked = append(p.asked, question+" ["+preset+"]")
	answer := p.answers[0]
	p.answers = p.answers[1:]
	return answer, validate(answer)
}

// terminal is an osm at a terminal of a cluster.
type terminal struct {
	env      *command.Env
	out, err bytes.Buffer
}

func (tt *terminal) run(t *testing.T, args ...string) int {
	t.Helper()
	tt.out.Reset()
	tt.err.Reset()
	return cli.Main(t.Context(), tt.env, args)
}

func newTerminal(t *testing.T, server *apitest.Server, prompt command.Prompter) *terminal {
	t.Helper()
	server.StartFor(t)
	tt := &terminal{env: command.NewEnv(command.Build{})}
	tt.env.Out, tt.env.Err, tt.env.Prompt = &tt.out, &tt.err, prompt
	return tt
}

// At a terminal, scale asks for what it was not told, and does nothing unless it is confirmed.
func TestScaleAsks(t *testing.T) {
	server := &apitest.Server{}
	who := &person{}
	tt := newTerminal(t, server, who)
	if code := tt.run(t, "install", "--set=osm.image.registry="+testRegistry); code != 0 {
		t.Fatal(tt.err.String())
	}

	server.Forget()
	who.answers, who.confirms = []string{"2", "1"}, []bool{false}
	if code := tt.run(t, "mesh", "scale"); code == 0 || !strings.Contains(tt.err.String(), "not confirmed; nothing was changed") {
		t.Errorf("exit code %d, stderr %s", code, &tt.err)
	}
	if writes := server.Writes(); len(writes) != 0 {
		t.Errorf("writes %v without confirmation", writes)
	}
	want := []string{"Replicas of osm-controller (1-10) [1]", "Replicas of osm-injector (1-10) [1]", "Scale mesh [osm]?"}
	if !slices.Equal(who.asked, want) {
		t.Errorf("asked %q, want %q", who.asked, want)
	}

	who.answers, who.confirms = []string{"2", "1"}, []bool{true}
	if code := tt.run(t, "mesh", "scale"); code != 0 || !strings.Contains(tt.out.String(), "osm-controller: node-1 1, node-2 1") {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, &tt.out, &tt.err)
	}

	// An answer out of range is refused by the question itself.
	who.answers = []string{"11"}
	if code := tt.run(t, "mesh", "scale"); code == 0 || !strings.Contains(tt.err.String(), "use an integer from 1 to 10") {
		t.Errorf("exit code %d, stderr %s", code, &tt.err)
	}
}

func TestUninstallAsks(t *testing.T) {
	server := &apitest.Server{}
	who := &person{confirms: []bool{false, true}}
	tt := newTerminal(t, server, who)
	if code := tt.run(t, "install", "--set=osm.image.registry="+testRegistry); code != 0 {
		t.Fatal(tt.err.String())
	}
	server.Forget()
	if code := tt.run(t, "uninstall", "mesh"); code == 0 || len(server.Writes()) != 0 {
		t.Errorf("exit code %d, writes %v after a no", code, server.Writes())
	}
	if code := tt.run(t, "uninstall", "mesh"); code != 0 {
		t.Errorf("exit code %d after a yes: %s", code, &tt.err)
	}
}

// A config dump as Envoy gives it, with a key that it has forgotten to hide.
const dump = `{"configs": [
  {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "shop/till-0", "cluster": "till.shop"}}},
  {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
   "static_clusters": [{"cluster": {"name": "osm-controller", "type": "STRICT_DNS"}}],
   "dynamic_active_clusters": [{"version_info": "abc", "cluster": {"name": "shop/till|80", "type": "EDS"}}]},
  {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
   "dynamic_listeners": [
     {"name": "inbound-listener", "active_state": {"version_info": "abc", "listener": {"name": "inbound-listener", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15003}}}}},
     {"name": "bad", "active_state": {"version_info": "old", "listener": {"name": "bad"}}, "error_state": {"details": "duplicate port"}}]},
  {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
   "dynamic_route_configs": [{"version_info": "abc", "route_config": {"name": "rds", "virtual_hosts": [{}, {}]}}]},
  {"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
   "dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "shop/till|80", "endpoints": [{"lb_endpoints": [{"health_status": "HEALTHY"}, {"health_status": "UNHEALTHY"}]}]}}]},
  {"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
   "dynamic_active_secrets": [{"name": "workload", "version_info": "abc", "secret": {"name": "workload", "tls_certificate": {"private_key": {"inline_bytes": "U0VDUkVU"}}}}]}
]}`

func TestProxyGetConfig(t *testing.T) {
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.String() {
		case "/config_dump?include_eds":
			w.Write([]byte(dump)) //nolint:errcheck // a test server
		case "/moved":
			http.Redirect(w, r, "/ready", http.StatusMovedPermanently)
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<script>")) //nolint:errcheck // a test server
		case "/stats?filter=a":
			w.Write([]byte("a\x1b[2K\r: 1\n")) //nolint:errcheck // a test server
		case "/ready":
			w.Write([]byte("LIVE\n")) //nolint:errcheck // a test server
		default:
			http.NotFound(w, r)
		}
	}))
	defer admin.Close()
	server := &apitest.Server{}
	tt := newTerminal(t, server, &person{})
	var forwarded, stopped int
	tt.env.Forward = func(_ context.Context, namespace, pod string, port int) (string, func(), error) {
		forwarded++
		if namespace != "shop" || pod != "till-0" || port != 15000 {
			t.Errorf("forward to %s/%s:%d", namespace, pod, port)
		}
		return strings.TrimPrefix(admin.URL, "http://"), func() { stopped++ }, nil
	}
	for name, labels := range map[string]apitest.Object{"till-0": {"osm-proxy-uuid": "1"}, "plain": {}} {
		server.Apply(apitest.Object{"apiVersion": "v1", "kind": "Pod", "metadata": apitest.Object{"name": name, "namespace": "shop", "labels": labels}, "status": apitest.Object{"phase": "Running"}})
	}

	if code := tt.run(t, "proxy", "get-config", "till-0", "-n", "shop"); code != 0 {
		t.Fatal(tt.err.String())
	}
	golden(t, filepath.Join("testdata", "proxy", "all.golden"), tt.out.String())

	for _, format := range []string{"json", "yaml"} {
		if code := tt.run(t, "proxy", "get-config", "till-0", "-n", "shop", "-o", format); code != 0 || strings.Contains(tt.out.String(), "U0VDUkVU") || !strings.Contains(tt.out.String(), "[redacted]") {
			t.Errorf("%s: exit code %d, output %s; want the key redacted", format, code, &tt.out)
		}
	}
	var section map[string]any
	if code := tt.run(t, "proxy", "get-config", "till-0", "-n", "shop", "--type", "clusters", "-o", "json"); code != 0 || json.Unmarshal(tt.out.Bytes(), &section) != nil || len(section["static_clusters"].([]any)) != 1 {
		t.Errorf("exit code %d, output %s", code, &tt.out)
	}
	if code := tt.run(t, "proxy", "get", "ready", "till-0", "-n", "shop"); code != 0 || tt.out.String() != "LIVE\n" {
		t.Errorf("exit code %d, output %q", code, &tt.out)
	}
	file := filepath.Join(t.TempDir(), "answer")
	if code := tt.run(t, "proxy", "get", "ready", "till-0", "-n", "shop", "--file", file); code != 0 {
		t.Error(tt.err.String())
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "LIVE\n" {
		t.Errorf("file %q, %v", data, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := tt.run(t, "proxy", "get", "/ready", "till-0", "-n", "shop", "--file", file); code != 0 {
		t.Error(tt.err.String())
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file that others could read has mode %v, %v; want 0600", info.Mode(), err)
	}
	if code := tt.run(t, "proxy", "get", "moved", "till-0", "-n", "shop"); code == 0 || !strings.Contains(tt.err.String(), `is a redirect to "/ready", which is not followed`) {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, &tt.out, &tt.err)
	}
	if code := tt.run(t, "proxy", "get", "page", "till-0", "-n", "shop"); code == 0 || !strings.Contains(tt.err.String(), `the response is "text/html", neither text nor JSON`) {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, &tt.out, &tt.err)
	}
	if code := tt.run(t, "proxy", "get", "ready#x", "till-0", "-n", "shop"); code == 0 || !strings.Contains(tt.err.String(), "a character that a query cannot have") {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, &tt.out, &tt.err)
	}
	for at, want := range map[bool]string{false: "a\x1b[2K\r: 1\n", true: `a\x1b[2K\r: 1` + "\n"} {
		tt.env.Terminal = func() bool { return at }
		if code := tt.run(t, "proxy", "get", "stats?filter=a", "till-0", "-n", "shop"); code != 0 || tt.out.String() != want {
			t.Errorf("at a terminal %t: exit code %d, output %q, want %q", at, code, &tt.out, want)
		}
	}
	if code := tt.run(t, "proxy", "get", "nonsense", "till-0", "-n", "shop"); code == 0 || !strings.Contains(tt.err.String(), "404") {
		t.Errorf("exit code %d, stderr %s", code, &tt.err)
	}
	if code := tt.run(t, "proxy", "get-config", "plain", "-n", "shop"); code == 0 || !strings.Contains(tt.err.String(), "is not part of a mesh") {
		t.Errorf("exit code %d, stderr %s", code, &tt.err)
	}
	if forwarded == 0 || forwarded != stopped {
		t.Errorf("%d forwards, %d stopped", forwarded, stopped)
	}
}
