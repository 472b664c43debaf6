package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Paths of the control port: POST a Call and get its Answer; PUT a State; PUT a Load; GET the Tally,
// with ?calls=N once it counts that many, with ?known=N the failures after the first N.
const (
	PathCall  = "/call"
	PathState = "/state"
	PathLoad  = "/load"
)

func (a *agent) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathCall, func(w http.ResponseWriter, r *http.Request) {
		var call Call
		if read(w, r, &call) {
			writeJSON(w, a.caller.do(r.Context(), call))
		}
	})
	mux.HandleFunc("PUT "+PathState, func(w http.ResponseWriter, r *http.Request) {
		var next State
		if read(w, r, &next) {
			a.state.set(next)
		}
	})
	mux.HandleFunc("PUT "+PathLoad, func(w http.ResponseWriter, r *http.Request) {
		var next Load
		if !read(w, r, &next) {
			return
		}
		if next.Interval <= 0 {
			http.Error(w, "interval must be above 0", http.StatusBadRequest)
			return
		}
		a.load.start(next)
	})
	mux.HandleFunc("GET "+PathLoad, func(w http.ResponseWriter, r *http.Request) {
		calls, err := number(r, "calls")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		known, err := number(r, "known")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, a.load.await(r.Context(), calls, known))
	})
	return mux
}

// number returns a parameter of the query, 0 if it is absent.
func number(r *http.Request, name string) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// read decodes a request, or responds with an error.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer)).Decode(into); err != nil {
		http.Error(w, fmt.Sprintf("read request: %v", err), http.StatusBadRequest)
		return false
	}
	return true
}
