package vault

import (
	"fmt"
	"io"
	"net/http"
)

// maxResponse is more than any response with a certificate and its chain. The library itself has no limit.
const maxResponse = 1 << 20

// bounded fails responses that are too long.
type bounded struct{ next http.RoundTripper }

// RoundTrip sends a request and bounds its response.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{response.Body, maxResponse}
	return response, nil
}

// boundedBody is a body that may hold left more bytes.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read fails once the body exceeds the bound. Only a byte beyond the bound shows that it does.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = -1
		return 0, fmt.Errorf("the response is longer than %d bytes", maxResponse)
	}
	return n, err
}
