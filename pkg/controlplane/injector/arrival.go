package injector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"

	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

var errMethod = errors.New("want method POST")

// arrival is one review on its way through the budgets: first its bytes have to fit, then the memory that
// decoding them takes.
type arrival struct {
	*webhook
	source netip.Addr
	held   []func()
}

// end releases what is held.
func (a *arrival) end() {
	for _, giveBack := range a.held {
		giveBack()
	}
}

// serve returns the encoded response, or the refusal.
func (a *arrival) serve(in *http.Request) ([]byte, requestResult, error) {
	body, err := a.read(in)
	if err != nil {
		return nil, resultMalformed, err
	}
	done, err := a.beginWork(in.Context(), body)
	if err != nil {
		return nil, resultMalformed, err
	}
	defer done()
	review, err := decodeReview(body)
	if err != nil {
		return nil, resultMalformed, refused(reasonMalformed, "%w", err)
	}
	response, result := a.respond(in.Context(), a.source, review.Request)
	review.Request, review.Response = nil, response
	answer, err := json.Marshal(review)
	if err != nil {
		return nil, resultError, fmt.Errorf("encode the answer: %w", err)
	}
	// The work ends here, before the wait: see halves. A slow reader holds only the response.
	done()
	if err := a.hold(in.Context(), int64(len(answer)-len(body))); err != nil {
		return nil, resultError, err
	}
	return answer, result, nil
}

// read reads the body. The request must state its length, as the API server's do, because that much memory
// is reserved for it.
func (a *arrival) read(in *http.Request) ([]byte, error) {
	if in.Method != http.MethodPost {
		return nil, refused(reasonMalformed, "%w, not %s", errMethod, clip(in.Method, maxName))
	}
	switch length := in.ContentLength; {
	case length < 0:
		return nil, refused(reasonMalformed, "the review has no Content-Length")
	case length > a.limits.ReviewBytes:
		return nil, refused(reasonSize, "the review has %d bytes: at most %d are allowed (chart value osm.injector.limits.reviewSize)", length, a.limits.ReviewBytes)
	}
	if err := a.hold(in.Context(), in.ContentLength); err != nil {
		return nil, err
	}
	body := make([]byte, in.ContentLength)
	switch _, err := io.ReadFull(in.Body, body); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refused(reasonSlow, "the review did not arrive within %v", a.limits.Read)
	case err != nil:
		return nil, refused(reasonMalformed, "read the review: %w", err)
	}
	return body, nil
}

// hold takes n bytes of the network's half until the arrival ends.
func (a *arrival) hold(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	giveBack, err := a.reserve(ctx, a.network, n)
	if err == nil {
		a.held = append(a.held, giveBack)
	}
	return err
}

// beginWork reserves the most that the review can cost.
func (a *arrival) beginWork(ctx context.Context, body []byte) (done func(), err error) {
	shape, err := measure(body)
	if err != nil {
		return nil, refused(reasonMalformed, "%w", err)
	}
	return a.reserve(ctx, a.work, shape.cost(len(body)))
}

func (a *arrival) reserve(ctx context.Context, from *budget, n int64) (giveBack func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, reviewWait)
	defer cancel()
	giveBack, err = from.take(ctx, a.source, n)
	switch {
	case errors.Is(err, errTooMuch):
		return nil, refused(reasonMemory, "the review would take %d bytes of memory: %w (chart value osm.injector.limits.reviewMemory)", n, err)
	case err != nil:
		return nil, refused(reasonBusy, "%w", err)
	}
	return giveBack, nil
}

// sourceOf is the address of the client; all without one share the zero Addr.
func sourceOf(in *http.Request) netip.Addr {
	return serve.SourceOf(in.RemoteAddr)
}
