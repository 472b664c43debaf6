package bookstore

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Paths of the store and the warehouse.
const (
	pathBooksBought = "/books-bought"
	pathBuyABook    = "/buy-a-book/new"
	pathRestock     = "/restock-books"
)

// Headers that the roles exchange.
const (
	headerBooksBought = "Booksbought"
	headerIdentity    = "Identity"
	headerClient      = "Client-App"
)

// maxResponse limits how much of a response is read before its connection is reused.
const maxResponse = 64 << 10

// shop buys a book every interval until ctx ends.
func (a *app) shop(ctx context.Context) {
	tick := time.NewTicker(a.config.Interval)
	defer tick.Stop()
	// Looking before every purchase would make two requests per visit, and a proxy that alternates
	// between two versions would then send all the purchases to the same one.
	for look := true; ; look = !look {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.visit(ctx, look)
		}
	}
}

// visit buys one book, after asking for the store's count if look is set. Only the purchase is
// counted.
func (a *app) visit(ctx context.Context, look bool) {
	if look {
		if _, ok := a.call(ctx, http.MethodGet, a.config.StoreURL+pathBooksBought); !ok {
			return
		}
	}
	header, ok := a.call(ctx, http.MethodGet, a.config.StoreURL+pathBuyABook)
	if !ok {
		return
	}
	seller := header.Get(headerIdentity)
	if seller == "" {
		a.ledger.refused(fmt.Errorf("buy a book: response without header %s", headerIdentity))
		return
	}
	total := a.ledger.book(seller, 1)
	a.config.Log.InfoContext(ctx, "got a book", "from", seller, "total", total)
}

// restock orders a book from the warehouse for each sale, until ctx ends.
func (a *app) restock(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.sold:
			a.call(ctx, http.MethodPost, a.config.WarehouseURL+pathRestock)
		}
	}
}

// call sends a request without a body and returns the response's header if it was a success.
// Anything else is counted and logged here, except that the process was asked to stop.
func (a *app) call(ctx context.Context, method, url string) (http.Header, bool) {
	status, header, err := a.send(ctx, method, url)
	switch {
	case ctx.Err() != nil:
		return nil, false
	case err != nil:
		a.ledger.failed(err)
		a.config.Log.WarnContext(ctx, "request failed", "method", method, "url", url, "error", err)
		return nil, false
	case status != http.StatusOK:
		a.ledger.refused(fmt.Errorf("%s %s: status %d", method, url, status))
		a.config.Log.WarnContext(ctx, "request refused", "method", method, "url", url, "status", status)
		return nil, false
	}
	return header, true
}

func (a *app) send(ctx context.Context, method, url string) (status int, header http.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set(headerClient, a.config.Identity)
	resp, err := a.config.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse)); err != nil {
		return 0, nil, fmt.Errorf("%s %s: read response: %w", method, url, err)
	}
	return resp.StatusCode, resp.Header, nil
}
