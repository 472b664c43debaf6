package serve

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
)

// Debug serves, for people at a port-forward, /debug/pprof/ and for each name /debug/NAME: what its
// function returns, as JSON. It belongs on a loopback address: profiles and the names of pods are not
// for everybody in the cluster.
func Debug(states map[string]func() any) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	for name, state := range states {
		mux.HandleFunc("GET /debug/"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", "  ")
			_ = encoder.Encode(state()) // the client has gone: nobody is left to tell
		})
	}
	return mux
}
