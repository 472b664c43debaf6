package serve

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"

	"github.com/osm-edge/osm/pkg/api/debug"
)

// Debug serves /debug/pprof/, and at each path of pages what its function returns, as JSON. A POST to a path of actions
// calls its function, and is answered with what it returns. It is for people who use a port-forward, and belongs on a
// loopback address: profiles and the names of pods are not for everybody in the cluster to see.
func Debug(pages, actions map[string]func() any) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	for path, page := range pages {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { writePage(w, page()) })
	}
	for path, act := range actions {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if why := refuseAction(r); why != "" {
				http.Error(w, why, http.StatusForbidden)
				return
			}
			writePage(w, act())
		})
	}
	return mux
}

func writePage(w http.ResponseWriter, page any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(page) // the client has disconnected: there is nobody to report the error to
}

// refuseAction says why a request may not change anything, "" if it may. It must come from inside the pod, as through
// a port-forward, whatever address the port was opened on; and from a program that means it, not from a page in the
// browser of somebody who has a port-forward open.
func refuseAction(r *http.Request) string {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
		return "only clients inside of the pod may do this: use a port-forward"
	}
	// A page whose own name resolves to a loopback address sends that name.
	host := (&url.URL{Host: r.Host}).Hostname()
	if address, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !address.IsLoopback()) {
		return "the Host header must be a loopback address"
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return "no browser may do this"
	}
	if r.Header.Get(debug.ActionHeader) == "" {
		return "the header " + debug.ActionHeader + " is missing"
	}
	return ""
}
