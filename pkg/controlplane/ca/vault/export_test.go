package vault

import "net/http"

// WithTransport replaces the network, for faults that no real server produces on demand.
func (c Config) WithTransport(transport http.RoundTripper) Config {
	c.transport = transport
	return c
}
