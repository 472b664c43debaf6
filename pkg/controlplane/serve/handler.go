package serve

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Version is the response of /version.
type Version struct {
	Version   string `json:"version"`
	GitCommit string `json:"gitCommit"`
	BuildDate string `json:"buildDate"`
}

// Handler serves /livez, /readyz, /metrics and /version to GET and HEAD requests.
func Handler(h *Health, metrics prometheus.Gatherer, version Version) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		alive, stuck := h.Alive()
		writeStatus(w, alive, stuck)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, waiting := h.Ready()
		writeStatus(w, ready, append(waiting, prefixed("note: ", h.Notes())...))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(version) // the client has disconnected: there is nobody to report the error to
	})
	return mux
}

// writeStatus writes "ok" or "not ok" and the lines below it.
func writeStatus(w http.ResponseWriter, ok bool, lines []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status, head := http.StatusOK, "ok"
	if !ok {
		status, head = http.StatusServiceUnavailable, "not ok"
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(head + "\n" + strings.Join(lines, "\n")))
}

// prefixed puts a prefix before each line.
func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = prefix + line
	}
	return out
}
