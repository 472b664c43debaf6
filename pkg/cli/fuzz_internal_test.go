package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/tests/reach"
)

// A config dump is what a pod says, so anything: its rows are whole, and no private key is left in
// it wherever it stands.
func FuzzConfigDump(f *testing.F) {
	for _, seed := range []string{
		`{"@type": "x.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "a"}}, 1, null]}`,
		`{"@type": "x.ListenersConfigDump", "dynamic_listeners": [{"warming_state": {"listener": {"address": {"socket_address": {"address": 1}}}}, "error_state": {"details": "\u001b"}}]}`,
		`{"@type": "x.EndpointsConfigDump", "static_endpoint_configs": [{"endpoint_config": {"endpoints": [{"lb_endpoints": [{}, 3]}]}}]}`,
		`{"@type": "x.SecretsConfigDump", "dynamic_active_secrets": [{"secret": {"tls_certificate": {"private_key": {"inline_string": "KEY-KEY"}}}}]}`,
		`{"@type": "x.BootstrapConfigDump", "bootstrap": {"node": []}, "a": [[{"private_key": {"inline_bytes": "KEY-KEY"}}]]}`,
		`{"@type": 7}`,
	} {
		f.Add([]byte(seed))
	}
	outcomes := reach.All(f, "known", "unknown", "redacted")
	f.Fuzz(func(t *testing.T, data []byte) {
		var config map[string]any
		if json.Unmarshal(data, &config) != nil {
			return
		}
		redact(config)
		if leaf := inlineKey(config); leaf != "" {
			t.Fatalf("%s: the key %q is shown", data, leaf)
		}
		if strings.Contains(fmt.Sprint(config), "[redacted]") {
			outcomes.Note("redacted")
		}
		s, known := sectionOf(config)
		if known {
			outcomes.Note("known")
		} else {
			outcomes.Note("unknown")
		}
		for _, row := range s.rows(config) {
			if len(row) != 5 {
				t.Fatalf("%s: row %q", data, row)
			}
		}
	})
}

// inlineKey finds a private key that is not redacted.
func inlineKey(node any) string {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range table(n, "private_key") {
			if text, ok := value.(string); ok && strings.HasPrefix(key, "inline") && text != "[redacted]" {
				return text
			}
		}
		for _, child := range n {
			if found := inlineKey(child); found != "" {
				return found
			}
		}
	case []any:
		for _, child := range n {
			if found := inlineKey(child); found != "" {
				return found
			}
		}
	}
	return ""
}

// A name that can be a mesh's can also stand wherever the chart and the CLI put it: as a label's value,
// in a label selector, and in the names of objects.
func FuzzMeshName(f *testing.F) {
	for _, seed := range []string{"osm", "a-b", "-a", "A", "a.b", "", "a,b", "a=b", strings.Repeat("a", 63), strings.Repeat("a", 64), "ä", "a\n"} {
		f.Add(seed)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, name string) {
		err := check.ValidMeshName(name)
		outcomes.Error(err)
		if err != nil {
			if err.Error() == "" || strings.ContainsAny(err.Error(), "\x1b\r\n") {
				t.Fatalf("%q is refused with %q", name, err)
			}
			return
		}
		if problems := validation.IsValidLabelValue(name); len(problems) > 0 {
			t.Fatalf("%q as a label's value: %v", name, problems)
		}
		for _, object := range []string{api.WebhookConfigName(name), "osm-controller-" + name, "osm-proxy-secrets-" + name} {
			if problems := validation.IsDNS1123Subdomain(object); len(problems) > 0 {
				t.Fatalf("%q as an object's name: %v", object, problems)
			}
		}
	})
}
