package certmanager

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/osm-edge/osm/tests/reach"
)

// FuzzRequest checks that every CertificateRequest is read or yields an error, and that no denial is
// overlooked.
func FuzzRequest(f *testing.F) {
	for _, status := range []string{
		`{"conditions": [{"type": "Approved", "status": "True"}, {"type": "Ready", "status": "True", "reason": "Issued"}], "certificate": "LS0t", "ca": "LS0t"}`,
		`{"conditions": [{"type": "Denied", "status": "True", "message": "no"}, {"type": "Ready", "status": "True"}], "certificate": "LS0t"}`,
		`{"conditions": [{"type": "Ready", "status": "False", "reason": "Denied"}]}`,
		`{"conditions": [{"type": "Ready", "status": "False", "reason": "Failed", "message": "quota"}]}`,
		`{"conditions": [{"type": "Ready", "status": "True"}]}`,
		`{"conditions": [{"type": "InvalidRequest", "status": "True"}]}`,
		`{"conditions": [{"type": "Ready", "status": "False", "reason": "Pending"}]}`,
		`{}`, `null`, `"x"`, `{"conditions": {}}`, `{"certificate": 1}`, `{"certificate": "not base64"}`,
	} {
		f.Add([]byte(status), false)
	}
	f.Add([]byte(`{}`), true)
	outcomes := reach.All(f, "unreadable", string(issued), string(pending), string(Denied), string(Failed), string(Invalid), string(Deleted))
	f.Fuzz(func(t *testing.T, text []byte, deleted bool) {
		var content any
		if json.Unmarshal(text, &content) != nil {
			t.Skip("an API server sends JSON")
		}
		state, err := read(&unstructured.Unstructured{Object: map[string]any{"status": content}})
		if err != nil {
			outcomes.Note("unreadable")
			return
		}
		state.deleted = deleted
		reason, why := state.outcome()
		outcomes.Note(string(reason))
		conditions := state.status.Conditions
		if reason == issued && (len(state.status.Certificate) == 0 || conditions.isTrue("Denied") || !conditions.isTrue("Ready")) {
			t.Errorf("issued: %+v", state.status)
		}
		if reason == pending && deleted {
			t.Error("waits for a deleted request")
		}
		if text := why.text(); strings.HasPrefix(text, ":") || strings.HasSuffix(text, ": ") {
			t.Errorf("says %q", text)
		}
	})
}
