package vault

import "net/http"

// WithTransport replaces the network, for faults that no server shows at a wish.
func (c Config) WithTransport(transport http.RoundTripper) Config {
	c.transport = transport
	return c
}
