package serve

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"testing"

	api "github.com/osm-edge/osm/pkg/api/debug"
)

func TestDebugServesPages(t *testing.T) {
	handler := Debug(map[string]func() any{"/debug/xds": func() any { return map[string]int{"streams": 3} }}, nil)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	var state map[string]int
	if err := json.Unmarshal(get("/debug/xds").Body.Bytes(), &state); err != nil || state["streams"] != 3 {
		t.Errorf("got %v, %v", state, err)
	}
	if w := get("/debug/pprof/goroutine?debug=1"); w.Code != http.StatusOK || w.Body.Len() == 0 {
		t.Errorf("the goroutine profile has status %d", w.Code)
	}
	if w := get("/debug/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown page has status %d", w.Code)
	}
}

// An action needs a POST from inside the pod, by a program that means it.
func TestDebugActions(t *testing.T) {
	done := 0
	handler := Debug(nil, map[string]func() any{"/debug/act": func() any { done++; return done }})
	for _, c := range []struct {
		name, method, from, host string
		header                   http.Header
		status                   int
	}{
		{name: "port-forward", header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusOK},
		{name: "IPv6", from: "[::1]:4000", host: "[::1]:9092", header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusOK},
		{name: "localhost", host: "localhost:9092", header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusOK},
		{name: "GET", method: http.MethodGet, header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusMethodNotAllowed},
		{name: "preflight", method: http.MethodOptions, header: http.Header{"Origin": {"https://example.com"}}, status: http.StatusMethodNotAllowed},
		{name: "another pod", from: "10.0.0.7:4000", header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusForbidden},
		{name: "a form in a browser", header: http.Header{"Origin": {"https://example.com"}}, status: http.StatusForbidden},
		{name: "a script in a browser", header: http.Header{api.ActionHeader: {"yes"}, "Origin": {"null"}}, status: http.StatusForbidden},
		{name: "a browser without Origin", header: http.Header{api.ActionHeader: {"yes"}, "Sec-Fetch-Site": {"same-origin"}}, status: http.StatusForbidden},
		{name: "a name that resolves to loopback", host: "rebound.example.com:9092", header: http.Header{api.ActionHeader: {"yes"}}, status: http.StatusForbidden},
		{name: "no header", status: http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, w := done, httptest.NewRecorder()
			r := httptest.NewRequest(cmp.Or(c.method, http.MethodPost), "/debug/act", nil)
			r.RemoteAddr, r.Host, r.Header = cmp.Or(c.from, "127.0.0.1:4000"), cmp.Or(c.host, "127.0.0.1:9092"), c.header
			handler.ServeHTTP(w, r)
			if w.Code != c.status || (done > before) != (c.status == http.StatusOK) {
				t.Errorf("status %d, done %d times; want status %d", w.Code, done-before, c.status)
			}
		})
	}
}

func TestLeaveHeadroom(t *testing.T) {
	before := debug.SetMemoryLimit(1000 << 20)
	defer debug.SetMemoryLimit(before)
	LeaveHeadroom()
	if limit := debug.SetMemoryLimit(-1); limit != 900<<20 {
		t.Errorf("the limit is %d, want a tenth less than before", limit)
	}
	debug.SetMemoryLimit(before)
}
