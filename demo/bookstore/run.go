package bookstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxOrders limits the sales that wait for the warehouse.
const maxOrders = 64

const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 5 * time.Second
)

// app is one running process.
type app struct {
	config Config
	ledger *ledger
	sold   chan struct{} // one element for each book that the warehouse has yet to replace
	ready  atomic.Bool
}

func newApp(c Config) *app {
	return &app{config: c, ledger: newLedger(c), sold: make(chan struct{}, maxOrders)}
}

// endpoint is an open listener and its handler.
type endpoint struct {
	listener net.Listener
	handler  http.Handler
}

// Run runs the role of c until ctx ends, then keeps serving for c.Drain, unready, and returns nil
// once all requests are finished.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	a := newApp(c)
	endpoints, err := a.open(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		a.serve(ctx, group, e)
	}
	if c.Role.shops() {
		group.Go(func() error { a.shop(ctx); return nil })
	}
	if c.Role == Store {
		group.Go(func() error { a.restock(ctx); return nil })
	}
	a.ready.Store(true)
	c.Log.InfoContext(ctx, "started", "role", c.Role, "identity", c.Identity)
	group.Go(func() error {
		<-ctx.Done()
		a.ready.Store(false)
		return nil
	})
	return group.Wait()
}

// open listens on every address of the role, or on none.
func (a *app) open(ctx context.Context) ([]endpoint, error) {
	pages, err := a.pages()
	if err != nil {
		return nil, err
	}
	wanted := map[string]http.Handler{a.config.PageAddress: pages}
	if a.config.Role.serves() {
		wanted[a.config.ServiceAddress] = a.service()
	}
	var endpoints []endpoint
	for address, handler := range wanted {
		listener, err := a.config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, e := range endpoints {
				_ = e.listener.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		endpoints = append(endpoints, endpoint{listener, handler})
	}
	return endpoints, nil
}

// serve serves e within group, until the drain after the end of ctx is over.
func (a *app) serve(ctx context.Context, group *errgroup.Group, e endpoint) {
	server := &http.Server{Handler: e.handler, ReadHeaderTimeout: headerTimeout}
	group.Go(func() error {
		if err := server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", e.listener.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		// Other proxies learn of the pod's end later than the pod itself.
		drain := time.NewTimer(a.config.Drain)
		defer drain.Stop()
		<-drain.C
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			return fmt.Errorf("shut down %s: %w", e.listener.Addr(), err)
		}
		return nil
	})
}
