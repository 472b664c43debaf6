package serve

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"testing"
)

func TestDebugServesPages(t *testing.T) {
	handler := Debug(map[string]func() any{"/debug/xds": func() any { return map[string]int{"streams": 3} }})
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

func TestLeaveHeadroom(t *testing.T) {
	before := debug.SetMemoryLimit(1000 << 20)
	defer debug.SetMemoryLimit(before)
	LeaveHeadroom()
	if limit := debug.SetMemoryLimit(-1); limit != 900<<20 {
		t.Errorf("the limit is %d, want a tenth less than before", limit)
	}
	debug.SetMemoryLimit(before)
}
