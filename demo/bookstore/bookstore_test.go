package bookstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/osm-edge/osm/demo/bookstore"
)

// memoryNetwork is an in-memory network: processes listen on names and find each other by name.
type memoryNetwork struct {
	t         *testing.T
	client    *http.Client
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
}

func newMemoryNetwork(t *testing.T) *memoryNetwork {
	n := &memoryNetwork{t: t, listeners: map[string]*bufconn.Listener{}}
	n.client = &http.Client{Transport: &http.Transport{DialContext: n.dial}}
	return n
}

func (n *memoryNetwork) listen(_ context.Context, _, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, errors.New("address in use")
	}
	l := bufconn.Listen(64 << 10)
	n.listeners[address] = l
	return l, nil
}

func (n *memoryNetwork) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	return l.DialContext(ctx)
}

// start runs a role at "<identity>:service" and "<identity>:page"; stop asks it to end, and done
// delivers what Run returned.
func (n *memoryNetwork) start(role bookstore.Role, identity string) (stop func(), done <-chan error) {
	ctx, cancel := context.WithCancel(n.t.Context())
	result := make(chan error, 1)
	config := bookstore.Config{
		Role: role, Identity: identity,
		ServiceAddress: identity + ":80", PageAddress: identity + ":8080",
		StoreURL: "http://bookstore-v1:80", WarehouseURL: "http://bookwarehouse:80",
		Interval: time.Second, Timeout: 500 * time.Millisecond, Drain: 3 * time.Second,
		Listen: n.listen, Client: n.client, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	go func() { result <- bookstore.Run(ctx, config) }()
	synctest.Wait()
	return cancel, result
}

func (n *memoryNetwork) fetch(url string) (int, string) {
	n.t.Helper()
	resp, err := n.client.Get(url)
	if err != nil {
		n.t.Fatal(err)
	}
	defer closed(n.t, resp.Body)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (n *memoryNetwork) counts(identity string) bookstore.Counts {
	n.t.Helper()
	_, body := n.fetch("http://" + identity + ":8080/raw")
	var c bookstore.Counts
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// stopped asks a role to end and checks that it does so without an error.
func stopped(t *testing.T, stop func(), done <-chan error) {
	t.Helper()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v after it was asked to stop, want nil", err)
	}
}

func closed(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// advance advances the clock of the bubble by d and waits until every process is idle.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestBooksFlowFromWarehouseToBuyer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		var stops []func()
		var dones []<-chan error
		for identity, role := range map[string]bookstore.Role{
			"bookwarehouse": bookstore.Warehouse, "bookstore-v1": bookstore.Store, "bookbuyer": bookstore.Buyer,
		} {
			stop, done := n.start(role, identity)
			stops, dones = append(stops, stop), append(dones, done)
		}
		advance(5*time.Second + 500*time.Millisecond)

		for identity, name := range map[string]string{"bookbuyer": "bookstore-v1", "bookstore-v1": "bookstore-v1", "bookwarehouse": "bookstore-v1"} {
			c := n.counts(identity)
			if want := map[string]int64{name: 5}; !maps.Equal(c.Books, want) {
				t.Errorf("%s counts %v books after 5.5 s, want %v (last fault %q)", identity, c.Books, want, c.LastFault)
			}
			if c.Refused != 0 || c.Failed != 0 {
				t.Errorf("%s counts %d refused and %d failed requests, want none", identity, c.Refused, c.Failed)
			}
		}
		if got, want := n.counts("bookstore-v1").Peers, map[string]int64{"none": 8}; !maps.Equal(got, want) {
			t.Errorf("store saw peers %v, want %v: five purchases and three queries, and no proxy identified a peer", got, want)
		}
		for i := range stops {
			stopped(t, stops[i], dones[i])
		}
		n.client.CloseIdleConnections()
	})
}

// A proxy that alternates between the versions must not send all purchases to one.
func TestPurchasesReachBothVersionsInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		listener, err := n.listen(t.Context(), "tcp", "bookstore-v1:80")
		if err != nil {
			t.Fatal(err)
		}
		var turns atomic.Int64
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Identity", []string{"bookstore-v1", "bookstore-v2"}[turns.Add(1)%2])
		})}
		go func() { _ = server.Serve(listener) }()
		defer closed(t, server)
		stop, done := n.start(bookstore.Buyer, "bookbuyer")
		advance(8*time.Second + 500*time.Millisecond)
		if got, want := n.counts("bookbuyer").Books, map[string]int64{"bookstore-v1": 4, "bookstore-v2": 4}; !maps.Equal(got, want) {
			t.Errorf("bought %v in 8.5 s, want %v", got, want)
		}
		stopped(t, stop, done)
		n.client.CloseIdleConnections()
	})
}

func TestThiefCountsWhatIsRefused(t *testing.T) {
	tests := map[string]struct {
		store           http.HandlerFunc
		refused, failed int64
		fault           string
	}{
		"forbidden": {
			store:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
			refused: 3, fault: "status 403",
		},
		"anonymous store": {
			store:   func(http.ResponseWriter, *http.Request) {},
			refused: 3, fault: "without header Identity",
		},
		"silent store": {
			store:  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			failed: 3, fault: "deadline exceeded",
		},
		"no store": {failed: 3, fault: "connection refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemoryNetwork(t)
				if tt.store != nil {
					listener, err := n.listen(t.Context(), "tcp", "bookstore-v1:80")
					if err != nil {
						t.Fatal(err)
					}
					server := &http.Server{Handler: tt.store, ReadHeaderTimeout: time.Minute}
					go func() { _ = server.Serve(listener) }()
					defer closed(t, server)
				}
				stop, done := n.start(bookstore.Thief, "bookthief")
				advance(3*time.Second + 600*time.Millisecond)
				c := n.counts("bookthief")
				if c.Total() != 0 || c.Refused != tt.refused || c.Failed != tt.failed || !strings.Contains(c.LastFault, tt.fault) {
					t.Errorf("thief counts %d books, %d refused, %d failed, last fault %q; want 0, %d, %d, %q",
						c.Total(), c.Refused, c.Failed, c.LastFault, tt.refused, tt.failed, tt.fault)
				}
				stopped(t, stop, done)
				n.client.CloseIdleConnections()
			})
		})
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		stop, done := n.start(bookstore.Store, "bookstore-v1")
		for path, want := range map[string]int{"liveness": 200, "readiness": 200, "startup": 200} {
			if got, _ := n.fetch("http://bookstore-v1:8080/" + path); got != want {
				t.Errorf("/%s = %d, want %d", path, got, want)
			}
		}
		asked := time.Now()
		stop()
		advance(2 * time.Second)
		if got, _ := n.fetch("http://bookstore-v1:8080/readiness"); got != http.StatusServiceUnavailable {
			t.Errorf("/readiness while draining = %d, want 503", got)
		}
		if got, _ := n.fetch("http://bookstore-v1:80/buy-a-book/new"); got != http.StatusOK {
			t.Errorf("a purchase while draining = %d, want 200", got)
		}
		n.client.CloseIdleConnections()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if took := time.Since(asked); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("draining took %s, want about 3s", took)
		}
	})
}

func TestStoreShowsVerifiedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		stop, done := n.start(bookstore.Store, "bookstore-v1")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://bookstore-v1:80/books-bought", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("x-forwarded-client-cert", "Hash=abc;URI="+buyerID)
		resp, err := n.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, resp.Body)
		if got := resp.Header; got.Get("Identity") != "bookstore-v1" || got.Get("Booksbought") != "0" {
			t.Errorf("response's headers = %v, want Identity bookstore-v1 and Booksbought 0", got)
		}
		if got, want := n.counts("bookstore-v1").Peers, map[string]int64{buyerID: 1}; !maps.Equal(got, want) {
			t.Errorf("store saw peers %v, want %v", got, want)
		}
		if _, page := n.fetch("http://bookstore-v1:8080/"); !strings.Contains(page, buyerID) || !strings.Contains(page, `http-equiv="refresh"`) {
			t.Errorf("page neither shows the peer nor refreshes itself:\n%s", page)
		}
		n.client.CloseIdleConnections()
		stopped(t, stop, done)
	})
}

func TestStoreBoundsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		stop, done := n.start(bookstore.Warehouse, "bookwarehouse")
		const claims = 100
		for i := range claims {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bookwarehouse:80/restock-books", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("x-forwarded-client-cert", "URI=spiffe://td/"+strings.Repeat("x", i+1))
			resp, err := n.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			closed(t, resp.Body)
		}
		peers := n.counts("bookwarehouse").Peers
		if len(peers) != 33 || peers["others"] != claims-32 {
			t.Errorf("distinguished %d peers and counted %d others, want 33 and %d", len(peers), peers["others"], claims-32)
		}
		n.client.CloseIdleConnections()
		stopped(t, stop, done)
	})
}

func TestRunFailsWhenAnAddressIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemoryNetwork(t)
		if _, err := n.listen(t.Context(), "tcp", "bookstore-v1:8080"); err != nil {
			t.Fatal(err)
		}
		_, done := n.start(bookstore.Store, "bookstore-v1")
		if err := <-done; err == nil || !strings.Contains(err.Error(), "listen on bookstore-v1:8080: address in use") {
			t.Errorf("Run = %v, want the address that is in use", err)
		}
	})
}

func TestValidate(t *testing.T) {
	valid := bookstore.Config{Role: bookstore.Buyer, Identity: "bookbuyer", PageAddress: ":8080", ServiceAddress: ":14001",
		StoreURL: "http://bookstore.bookstore:14001", WarehouseURL: "http://bookwarehouse.bookwarehouse:14001", Interval: time.Second, Timeout: time.Second}
	if err := valid.Validate(); err != nil {
		t.Fatalf("Validate = %v for a valid configuration", err)
	}
	tests := map[string]struct {
		change func(*bookstore.Config)
		want   string
	}{
		"role":          {func(c *bookstore.Config) { c.Role = "librarian" }, "choose one of"},
		"identity":      {func(c *bookstore.Config) { c.Identity = "" }, "identity is empty"},
		"interval":      {func(c *bookstore.Config) { c.Interval = time.Millisecond }, "at least 10ms"},
		"timeout":       {func(c *bookstore.Config) { c.Timeout = 0 }, "timeout must be above 0"},
		"store URL":     {func(c *bookstore.Config) { c.StoreURL = "bookstore:14001" }, "want http://host:port"},
		"warehouse URL": {func(c *bookstore.Config) { c.Role = bookstore.Store; c.WarehouseURL = "http://w/path" }, "want http://host:port"},
		"one address":   {func(c *bookstore.Config) { c.Role = bookstore.Store; c.ServiceAddress = ":8080" }, "must differ"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := valid
			tt.change(&config)
			if err := config.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want an error with %q", err, tt.want)
			}
		})
	}
}
