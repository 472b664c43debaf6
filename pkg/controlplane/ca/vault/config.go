package vault

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Defaults of Config.
const (
	DefaultMount      = "pki"
	DefaultLoginMount = "kubernetes"
	defaultPoll       = 5 * time.Minute
	defaultTimeout    = 10 * time.Second
)

// Config names the server and the role, and says how to authenticate.
type Config struct {
	// Address is the server's URL, for example "https://vault.vault:8200"; it is required.
	Address string
	// Hosts are the servers, as host:port, that Address may redirect to, as a standby does. No other server
	// is sent a token.
	Hosts []string
	// CABundle holds the CA certificates that verify the server, as PEM; empty means those of the
	// system. It goes with https only.
	CABundle []byte
	// Namespace is a Vault namespace, if the server has them; usually empty.
	Namespace string
	// Mount is the PKI engine's path; empty means DefaultMount.
	Mount string
	// Role is the PKI engine's role that signs; it is required.
	Role string
	// Login is how to get a token, unless Token is set.
	Login Login
	// Token returns a token that was created elsewhere. It is called before each request, so that a
	// changed token is used at once; it must be cheap.
	Token func(context.Context) (string, error)
	// TrustDomain is the mesh's; it is required.
	TrustDomain identity.TrustDomain
	// Poll is how often the engine's CA is checked; zero means 5 minutes.
	Poll time.Duration
	// Timeout bounds each request; zero means 10 seconds.
	Timeout time.Duration
	// Report receives how the engine's CA compares with the loaded one, once at Load and then at each
	// change, one call at a time. It may be nil.
	Report func(ca.RootStatus)
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log receives what is not returned to a caller; nil discards it.
	Log *slog.Logger

	transport http.RoundTripper // for tests that need a fault no real server produces
}

// Login configures the login with a ServiceAccount token. The server's auth methods "kubernetes" and "jwt"
// both accept it. The server sees the token, so it must be one that the API server does not accept.
type Login struct {
	// Mount is the auth method's path below auth/; empty means DefaultLoginMount.
	Mount string
	// Role is the auth method's role; empty means the name of the PKI engine's role.
	Role string
	// TokenFile holds the token, projected for the server's own audience. It is read at each login, because
	// Kubernetes rotates it. It is required unless Config.Token is set; there is no default, so that
	// forgetting it cannot send the token that the API server accepts.
	TokenFile string
}

// complete checks the configuration and fills in the defaults.
func (c Config) complete() (Config, error) {
	c.Address = strings.TrimRight(c.Address, "/")
	c.Mount = strings.Trim(cmp.Or(c.Mount, DefaultMount), "/")
	c.Login.Mount = strings.Trim(cmp.Or(c.Login.Mount, DefaultLoginMount), "/")
	c.Login.Role = cmp.Or(c.Login.Role, c.Role)
	c.Poll = cmp.Or(c.Poll, defaultPoll)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Report == nil {
		c.Report = func(ca.RootStatus) {}
	}
	return c, c.validate()
}

func (c Config) validate() error {
	u, err := url.Parse(c.Address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Path != "", u.User != nil, u.RawQuery != "":
		return fmt.Errorf("address %q: want http:// or https:// with only a host and a port", u.Redacted())
	case c.Role == "":
		return errors.New("a role of the PKI engine is required")
	case c.TrustDomain == "":
		return errors.New("a trust domain is required")
	case c.Token == nil && c.Login.TokenFile == "":
		return errors.New("a token, or the file of a token to log in with, is required")
	case u.Scheme == "http" && len(c.CABundle) > 0:
		return fmt.Errorf("address %q: a CA bundle needs https", c.Address)
	case c.Poll < 0 || c.Timeout < 0:
		return fmt.Errorf("poll %v, timeout %v: want more than 0", c.Poll, c.Timeout)
	case len(c.CABundle) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.CABundle):
		return errors.New("the CA bundle holds no PEM certificate")
	}
	return errors.Join(pathName("role", c.Role), pathName("mount", c.Mount), pathName("login mount", c.Login.Mount), pathName("login role", c.Login.Role))
}

// pathName rejects names that would change the path.
func pathName(what, name string) error {
	if name == "" || strings.ContainsAny(name, " ?#%\\") || strings.Contains(name, "..") || strings.Contains(name, "//") {
		return fmt.Errorf("%s %q: not a name that can be part of a path", what, name)
	}
	return nil
}

// sends reports whether a server, as host:port, may be sent a token.
func (c Config) sends(host string) bool {
	_, own, _ := strings.Cut(c.Address, "://")
	return host == own || slices.Contains(c.Hosts, host)
}

// signPath is the path that signs with the role.
func (c Config) signPath() string { return c.Mount + "/sign/" + c.Role }

// caPath is the public path of the engine's CA.
func (c Config) caPath() string { return c.Mount + "/cert/ca" }

func (c Config) loginPath() string { return "auth/" + c.Login.Mount + "/login" }

// String returns the provider's name for messages.
func (c Config) String() string { return "Vault at " + c.Address + ", PKI engine " + c.Mount }
