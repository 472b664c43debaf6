package agent

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The webhook adds a container that runs the image, and tells it what the pod had before.
func TestWebhookAddsCompanion(t *testing.T) {
	const review = `{"request":{"uid":"u","object":{"spec":{"initContainers":[{"name":"first"}],"containers":[{"name":"app"}]}}}}`
	out := httptest.NewRecorder()
	addCompanion("registry/testapp:1").ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), http.MethodPost, PathWebhook, strings.NewReader(review)))
	var answer struct {
		Response struct {
			UID, PatchType string
			Allowed        bool
			Patch          []byte
		}
	}
	if err := json.Unmarshal(out.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if got := answer.Response; got.UID != "u" || !got.Allowed || got.PatchType != "JSONPatch" {
		t.Errorf("answer = %+v", got)
	}
	for _, part := range []string{`"value":"first app"`, `"image":"registry/testapp:1"`, `"port":7500`, `"path":"/spec/containers/-"`} {
		if !strings.Contains(string(answer.Response.Patch), part) {
			t.Errorf("patch %s does not have %s", answer.Response.Patch, part)
		}
	}
	bad := httptest.NewRecorder()
	addCompanion("").ServeHTTP(bad, httptest.NewRequestWithContext(t.Context(), http.MethodPost, PathWebhook, strings.NewReader("no review")))
	if bad.Code != http.StatusBadRequest {
		t.Errorf("no review is answered with status %d, want %d", bad.Code, http.StatusBadRequest)
	}
}
