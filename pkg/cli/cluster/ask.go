package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/osm-edge/osm/pkg/api/debug"
)

const (
	// maxPage limits the response of a replica, over either route: pages of metrics are far smaller.
	maxPage   = 32 << 20
	maxHeader = 64 << 10
)

// Answer is the response from the other end of a port-forward.
type Answer struct {
	Status int
	Type   string // media type, without parameters
	Body   []byte
}

// StatusLine reads "404 Not Found".
func (a *Answer) StatusLine() string {
	return fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
}

// Ask sends a GET request to the other end of a port-forward, which it does not trust: the request goes
// nowhere else, whatever the query or the response says, and at most limit bytes are read.
func Ask(ctx context.Context, address, query string, limit int64) (*Answer, error) {
	return send(ctx, http.MethodGet, address, query, limit)
}

// Act sends a POST request without a body, as controllers accept it at their debug address, with the same limits as Ask.
func Act(ctx context.Context, address, query string, limit int64) (*Answer, error) {
	return send(ctx, http.MethodPost, address, query, limit)
}

func send(ctx context.Context, method, address, query string, limit int64) (*Answer, error) {
	target, err := askURL(address, query)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set(debug.ActionHeader, "yes")
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader}
	response, err := straight{transport}.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(limited(response.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	media, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	return &Answer{response.StatusCode, strings.ToLower(strings.TrimSpace(media)), body}, nil
}

// askURL is the URL for a query such as "stats?filter=x" at an address. The query is a path with
// parameters, never another host. Parameters may be regular expressions, as in Envoy's filters.
func askURL(address, query string) (*url.URL, error) {
	path, parameters, _ := strings.Cut(strings.TrimPrefix(query, "/"), "?")
	if strings.Contains(query, "#") || strings.Contains(path, "\\") || strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("query %q has a character that a query cannot have; write it as %%XX", query)
	}
	unescaped, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", query, err)
	}
	return &url.URL{Scheme: "http", Host: address, Path: "/" + unescaped, RawPath: "/" + path, RawQuery: escapeParameters(parameters)}, nil
}

// escapeParameters escapes the characters that regular expressions need but a URL's query cannot contain.
func escapeParameters(parameters string) string {
	return strings.NewReplacer(`\`, "%5C", "^", "%5E", "{", "%7B", "}", "%7D", "|", "%7C", `"`, "%22", "<", "%3C", ">", "%3E", "`", "%60").Replace(parameters)
}

// straight follows no redirects. This matters most for clients of the API server: if a pod behind the
// API server redirected them, they would send the user's token there.
type straight struct{ http.RoundTripper }

// fromPod marks the context of a request that the API server proxies to a pod.
type fromPod struct{}

func (s straight) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := s.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if location := response.Header.Get("Location"); location != "" && response.StatusCode/100 == 3 {
		return nil, errors.Join(fmt.Errorf("the answer is a redirect to %q, which is not followed", location), response.Body.Close())
	}
	if request.Context().Value(fromPod{}) != nil {
		response.Body = limited(response.Body, maxPage)
	}
	return response, nil
}

// limitedBody returns an error if a response exceeds its limit, so that a part is never taken for the whole.
type limitedBody struct {
	io.ReadCloser
	limit, left int64
}

func limited(body io.ReadCloser, limit int64) io.ReadCloser { return &limitedBody{body, limit, limit} }

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes, which is the limit", b.limit)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("the answer has more than %d bytes, which is the limit", b.limit)
	}
	return n, err
}
