package vault

import (
	"fmt"
	"io"
	"net/http"
)

// maxAnswer is more than any answer with a certificate and its chain; the library reads all that comes.
const maxAnswer = 1 << 20

// bounded ends answers that are too long with an error.
type bounded struct{ next http.RoundTripper }

// RoundTrip sends a request whose answer is bounded.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{response.Body, maxAnswer}
	return response, nil
}

// boundedBody is a body of which left bytes may still be read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read reads as long as the body is not too long. Only a byte beyond the bound shows that it is.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = -1
		return 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	return n, err
}
