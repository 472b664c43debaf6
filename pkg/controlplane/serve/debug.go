package serve

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
)

// Debug serves /debug/pprof/, and at each path of pages what its function returns, as JSON. It is for
// people who use a port-forward, and belongs on a loopback address: profiles and the names of pods are not
// for everybody in the cluster to see.
func Debug(pages map[string]func() any) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	for path, page := range pages {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", "  ")
			_ = encoder.Encode(page()) // the client has disconnected: there is nobody to report the error to
		})
	}
	return mux
}
