package bookstore

import (
	"net/http"
	"strings"
)

// peerHeader is the header in which a server's Envoy names the peer whose certificate it verified.
const peerHeader = "X-Forwarded-Client-Cert"

// Peer returns the URI of the client certificate that the proxy in front of this server verified,
// or "" if no proxy says so. The header is only as trustworthy as the clients that can reach the server
// without its proxy; in a meshed pod that is only the pod itself.
func Peer(h http.Header) string {
	elements := splitQuoted(strings.Join(h.Values(peerHeader), ","), ',')
	// Each proxy appends its element; the last one is from this pod's own proxy.
	for _, pair := range splitQuoted(elements[len(elements)-1], ';') {
		key, value, found := strings.Cut(pair, "=")
		if found && strings.EqualFold(strings.TrimSpace(key), "URI") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// splitQuoted splits s at sep, but not inside double quotes, where a backslash escapes.
// It returns at least one element.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
