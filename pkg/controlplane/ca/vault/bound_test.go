package vault_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// endless is a response that never ends; it counts the bytes that were read.
type endless struct{ sent int }

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{Request: r, StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(e)}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	const enough = 64 << 20 // ends the test even without a bound
	if e.sent > enough {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	e.sent += len(p)
	return len(p), nil
}

// TestResponsesAreBounded checks that a server, or an impostor, cannot exhaust the control plane's memory.
func TestResponsesAreBounded(t *testing.T) {
	server := &endless{}
	a, err := vault.New(vault.Config{
		Address: "https://vault.test:8200", Role: "mesh", TrustDomain: domain, Timeout: time.Minute,
		Token: func(context.Context) (string, error) { return "s.token", nil },
	}.WithTransport(server))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = a.Load(ctx)
	contains(t, err, "the response is longer than 1048576 bytes")
	if server.sent > 4<<20 {
		t.Errorf("%d bytes were read", server.sent)
	}
}
