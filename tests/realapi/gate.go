package realapi

import (
	"net/http"
	"strings"
)

// Gate holds back a client's requests for one path until a test opens it. Use Wrap on a rest.Config.
type Gate struct {
	suffix string
	opened chan struct{}
}

// NewGate holds back requests whose path ends in suffix.
func NewGate(suffix string) *Gate { return &Gate{suffix, make(chan struct{})} }

// Open lets the requests through, from now on. Call it once.
func (g *Gate) Open() { close(g.opened) }

// Wrap puts the gate before a transport.
func (g *Gate) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if strings.HasSuffix(request.URL.Path, g.suffix) {
			select {
			case <-g.opened:
			case <-request.Context().Done():
				return nil, request.Context().Err()
			}
		}
		return next.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
