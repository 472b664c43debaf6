package vault_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// TestRedirectsStayWithinTheHosts checks that a standby may redirect to a server that the configuration
// names. No other server gets a request, let alone its token.
func TestRedirectsStayWithinTheHosts(t *testing.T) {
	t.Parallel()
	var heard atomic.Int32
	active := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		heard.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer active.Close()
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer standby.Close()
	_, host, _ := strings.Cut(active.URL, "//")
	for name, test := range map[string]struct {
		hosts []string
		said  string
		heard int32
	}{
		"named":     {[]string{host}, "418", 1},
		"not named": {nil, "not one of the servers that may be sent a token", 0},
	} {
		heard.Store(0)
		log := &journal{}
		config := newStub(t).config().WithTransport(nil)
		config.Address, config.Hosts, config.Log = standby.URL, test.hosts, log.logger()
		a, err := vault.New(config)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = a.Load(ctx) // ctx's end
		}()
		wait(t, name+": the log to say "+test.said, func() bool { return log.contains(test.said) })
		cancel()
		<-done
		if n := heard.Load(); n < test.heard || n > 0 && test.heard == 0 {
			t.Errorf("%s: the other server got %d requests, want %d", name, n, test.heard)
		}
	}
}
