package proxy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

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
