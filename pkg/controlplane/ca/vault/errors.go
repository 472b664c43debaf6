package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// Error says which request failed, what the server said, and how to fix it.
type Error struct {
	// Address and Path are the server and the path below /v1/.
	Address, Path string
	// Status is the HTTP status, or 0 if there was no response.
	Status int
	// Said is what the server or the network said.
	Said string
	// Fix says how to fix it.
	Fix string

	cause error
}

// Error returns all of it as one sentence.
func (e *Error) Error() string {
	said := e.Said
	if e.Status != 0 {
		said = fmt.Sprintf("%d %s", e.Status, e.Said)
	}
	return fmt.Sprintf("vault %s, path %s: %s: %s", e.Address, e.Path, said, e.Fix)
}

// Unwrap returns the library's error.
func (e *Error) Unwrap() error { return e.cause }

// about returns what is at fault: the request, the token or the server.
func (e *Error) about() subject {
	switch {
	case strings.HasPrefix(e.Path, "auth/"):
		return aboutServer
	case e.Status == http.StatusBadRequest && !strings.Contains(e.Said, "unknown role"):
		return aboutRequest
	case e.Status == http.StatusForbidden:
		return aboutToken
	}
	return aboutServer
}

// subject is what an error is about.
type subject int

const (
	aboutServer subject = iota
	aboutToken
	aboutRequest
)

// refuses reports whether the server refused the token.
func refuses(err error) bool {
	failed, ok := errors.AsType[*Error](err)
	return ok && failed.about() == aboutToken
}

// denied reports whether the server responded and will refuse the request every time.
func denied(err error) bool {
	failed, ok := errors.AsType[*Error](err)
	return ok && failed.Status >= 400 && failed.Status < 500 && failed.Status != http.StatusTooManyRequests
}

// withoutCA reports whether the PKI engine responded that it has no CA.
func withoutCA(err error) bool {
	failed, ok := errors.AsType[*Error](err)
	return ok && strings.Contains(failed.Said, "default issuer")
}

// explain turns the library's error into an *Error.
func (s *server) explain(path string, err error) error {
	failed := &Error{Address: s.cfg.Address, Path: path, cause: err}
	response, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		failed.Said, failed.Fix = s.cfg.network(err)
		return failed
	}
	failed.Status = response.StatusCode
	failed.Said = said(response)
	failed.Fix = s.cfg.fix(path, failed)
	return failed
}

// said returns the server's message on one line, without the decoration of its lists.
func said(response *api.ResponseError) string {
	words := strings.Fields(strings.NewReplacer("1 error occurred:", "", "* ", "").Replace(strings.Join(response.Errors, "; ")))
	text := strings.Join(words, " ")
	const most = 500 // a proxy in between may respond with a page
	if len(text) > most {
		text = text[:most] + "..."
	}
	if text == "" {
		text = http.StatusText(response.StatusCode)
	}
	return text
}

// network explains why there was no response.
func (c Config) network(err error) (said, fix string) {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	said = err.Error()
	var notTLS tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no response within %v", c.Timeout), "check that the server is up and that NetworkPolicies let the control plane reach it"
	case errors.As(err, &notTLS), strings.Contains(said, "server gave HTTP response to HTTPS client"):
		return said, "the server uses plain http on this port: use protocol http, or its https port"
	case errors.As(err, &unknown):
		return said, "configure the CA bundle that verifies the server's certificate"
	case errors.As(err, &hostname):
		return said, "use a host name that the server's certificate is valid for"
	case errors.As(err, &invalid):
		return said, "replace the server's certificate, or check that its clock agrees with this node's"
	case errors.As(err, &dns):
		return said, "correct the host name, or create the server's Service"
	}
	return said, "check host, port and protocol, and that the server is up"
}

// hint is the fix for responses that contain a text.
type hint struct{ text, fix string }

// fix says how to fix a failed request.
func (c Config) fix(path string, e *Error) string {
	for _, h := range c.stateHints() {
		if strings.Contains(e.Said, h.text) {
			return h.fix
		}
	}
	switch e.Status {
	case http.StatusTooManyRequests:
		return "raise the server's rate limit quota for this path"
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return "wait until the server is ready, or check its log"
	case http.StatusNotFound:
		return fmt.Sprintf("mount the engine at %q, or correct the mount", strings.Split(path, "/")[0])
	}
	hints, otherwise := c.signHints()
	switch {
	case path == c.loginPath():
		hints, otherwise = c.loginHints(e.Status)
	case e.Status == http.StatusForbidden && path == c.signPath():
		return fmt.Sprintf("give the token a policy that allows update on %q, or replace the token if it expired or was revoked", c.signPath())
	case path != c.signPath():
		return "check the server's log"
	}
	for _, h := range hints {
		if strings.Contains(e.Said, h.text) {
			return h.fix
		}
	}
	return otherwise
}

// stateHints are about the server as a whole.
func (Config) stateHints() []hint {
	return []hint{
		{"HTTP request to an HTTPS server", "the server uses https on this port: use protocol https"},
		{"is sealed", "initialise and unseal the server"},
		{"not initialized", "initialise and unseal the server"},
	}
}

func (c Config) signHints() ([]hint, string) {
	role := c.Mount + "/roles/" + c.Role
	return []hint{
		{"unknown role", fmt.Sprintf("create the role %q of the PKI engine, or correct its name", c.Role)},
		{"default issuer", fmt.Sprintf("generate or import a CA in the PKI engine %q", c.Mount)},
		{"requires keys of type", fmt.Sprintf("set key_type=any in %s", role)},
		{"requires a minimum of", fmt.Sprintf("set key_type=any and key_bits=0 in %s", role)},
		{"URI", fmt.Sprintf("set allowed_uri_sans=\"spiffe://%s/*\" in %s", c.TrustDomain, role)},
		{"IP Subject Alternative Names", fmt.Sprintf("set allow_ip_sans=true in %s", role)},
		{"not allowed by this role", fmt.Sprintf("set allow_any_name=true in %s, or allow this name", role)},
		{"beyond the expiration", fmt.Sprintf("rotate the CA of the PKI engine %q, or check that the server's clock agrees with this node's", c.Mount)},
	}, fmt.Sprintf("check %s and the server's log", role)
}

func (c Config) loginHints(status int) ([]hint, string) {
	role := fmt.Sprintf("auth/%s/role/%s", c.Login.Mount, c.Login.Role)
	otherwise := fmt.Sprintf("check auth/%s/config and the server's log", c.Login.Mount)
	switch status {
	case http.StatusForbidden:
		otherwise = fmt.Sprintf("enable the auth method at auth/%s, let its own ServiceAccount review tokens (ClusterRole system:auth-delegator), and bind %s to the control plane's ServiceAccount", c.Login.Mount, role)
	case http.StatusBadRequest:
		otherwise = fmt.Sprintf("bind %s to the control plane's ServiceAccount, namespace and audience", role)
	}
	return []hint{
		{"invalid role name", fmt.Sprintf("create %s, or correct the login's role", role)},
		{"could not be found", fmt.Sprintf("create %s, or correct the login's role", role)},
		{"could not load", fmt.Sprintf("write auth/%s/config", c.Login.Mount)},
	}, otherwise
}
