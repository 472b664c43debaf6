package rotate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A connection to the leader is opened once, and again after an error or for another leader. Each is
// closed.
func TestLeader(t *testing.T) {
	answer := `{"leads": true, "step": {"phase": "idle"}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	var opened, closed []string
	holder := "c-0"
	h := &leader{
		namespace: "osm-system", lease: func(context.Context) (string, error) { return holder, nil },
		forward: func(_ context.Context, namespace, pod string, port int) (string, func(), error) {
			if namespace != "osm-system" || port != 9092 {
				t.Errorf("forward to port %d in namespace %s", port, namespace)
			}
			if pod == "gone" {
				return "", nil, errors.New("no such pod")
			}
			opened = append(opened, pod)
			return strings.TrimPrefix(server.URL, "http://"), func() { closed = append(closed, pod) }, nil
		},
	}
	steps := []struct{ holder, answer, fault string }{
		{"c-0", answer, ""},
		{"c-0", answer, ""},
		{"c-0", "{", "decode the response"},
		{"c-0", answer, ""},
		{"c-1", `{"leads": false}`, "is not the leader"},
		{"c-1", answer, ""},
		{"gone", answer, "no such pod"},
		{"", answer, "there is no leader"},
		{"c-1", answer, ""},
	}
	for i, step := range steps {
		holder, answer = step.holder, step.answer
		_, pod, err := h.look(t.Context())
		if (err == nil) != (step.fault == "") || err != nil && !strings.Contains(err.Error(), step.fault) || pod != step.holder {
			t.Errorf("look %d: pod %q, error %v; want %q, %q", i, pod, err, step.holder, step.fault)
		}
	}
	h.close()
	h.close()
	want := []string{"c-0", "c-0", "c-1", "c-1", "c-1"}
	if diff := cmp.Diff(want, opened); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, closed); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
}
