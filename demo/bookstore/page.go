package bookstore

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"time"

	_ "embed"
)

//go:embed page.html
var pageSource string

// pages is the web page, the counts and the probes, which every role has.
func (a *app) pages() (http.Handler, error) {
	page, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("parse web page: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { a.showPage(w, r, page) })
	mux.HandleFunc("GET /raw", func(w http.ResponseWriter, r *http.Request) { a.writeJSON(w, r, a.ledger.snapshot()) })
	mux.HandleFunc("GET /liveness", alive)
	mux.HandleFunc("GET /startup", alive)
	mux.HandleFunc("GET /readiness", a.readiness)
	return mux, nil
}

// alive responds to a probe that any response satisfies.
func alive(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func (a *app) readiness(w http.ResponseWriter, _ *http.Request) {
	if !a.ready.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	}
}

// view is what the page shows.
type view struct {
	Counts
	Verb  string
	Total int64
	Now   string
}

func (a *app) showPage(w http.ResponseWriter, r *http.Request, page *template.Template) {
	counts := a.ledger.snapshot()
	v := view{Counts: counts, Verb: verb(a.config.Role), Total: counts.Total(), Now: a.config.Now().Format(time.TimeOnly)}
	var buf bytes.Buffer
	if err := page.Execute(&buf, v); err != nil {
		a.config.Log.ErrorContext(r.Context(), "page not rendered", "error", err)
		http.Error(w, "page not rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := buf.WriteTo(w); err != nil {
		a.config.Log.WarnContext(r.Context(), "response not sent", "path", r.URL.Path, "error", err)
	}
}

// verb says what happened to the books of a role.
func verb(r Role) string {
	switch r {
	case Buyer:
		return "bought"
	case Thief:
		return "stolen"
	case Warehouse:
		return "restocked"
	case Store:
		return "sold"
	}
	return "counted"
}
