package bookstore

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
)

// service is what a store or a warehouse offers to the other roles.
func (a *app) service() http.Handler {
	mux := http.NewServeMux()
	switch a.config.Role {
	case Store:
		mux.HandleFunc("GET "+pathBooksBought, a.booksBought)
		mux.HandleFunc("GET "+pathBuyABook, a.sellABook)
	case Warehouse:
		mux.HandleFunc("POST "+pathRestock, a.restockBooks)
	case Buyer, Thief:
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ledger.peer(Peer(r.Header))
		w.Header().Set(headerIdentity, a.config.Identity)
		mux.ServeHTTP(w, r)
	})
}

func (a *app) booksBought(w http.ResponseWriter, r *http.Request) {
	a.answer(w, r, a.ledger.snapshot().Total())
}

func (a *app) sellABook(w http.ResponseWriter, r *http.Request) {
	total := a.ledger.book(a.config.Identity, 1)
	select {
	case a.sold <- struct{}{}:
	default: // the warehouse is far behind: it gets an order for a later sale
		a.config.Log.WarnContext(r.Context(), "order dropped: too many wait for the warehouse", "waiting", cap(a.sold))
	}
	a.answer(w, r, total)
}

func (a *app) restockBooks(w http.ResponseWriter, r *http.Request) {
	store := cmp.Or(r.Header.Get(headerClient), unknownPeer)
	a.answer(w, r, a.ledger.book(store, 1))
}

func (a *app) answer(w http.ResponseWriter, r *http.Request, books int64) {
	w.Header().Set(headerBooksBought, strconv.FormatInt(books, 10))
	a.writeJSON(w, r, map[string]int64{"books": books})
}

func (a *app) writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		a.config.Log.WarnContext(r.Context(), "response not sent", "path", r.URL.Path, "error", err)
	}
}
