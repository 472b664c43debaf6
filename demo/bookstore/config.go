package bookstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Role is the role of one process.
type Role string

// The roles of the demo.
const (
	Buyer     Role = "bookbuyer"
	Thief     Role = "bookthief"
	Store     Role = "bookstore"
	Warehouse Role = "bookwarehouse"
)

// Roles lists every role.
func Roles() []Role { return []Role{Buyer, Thief, Store, Warehouse} }

// shops reports whether the role sends requests for books.
func (r Role) shops() bool { return r == Buyer || r == Thief }

// serves reports whether the role serves the service address.
func (r Role) serves() bool { return r == Store || r == Warehouse }

// Config configures one process.
type Config struct {
	// Role that the process plays.
	Role Role
	// Identity is its name: bookstore-v1, bookstore-v2, or the role's own name.
	Identity string
	// ServiceAddress is where a store or a warehouse serves the other roles.
	ServiceAddress string
	// PageAddress is where every role serves its web page, its counts and its probes.
	PageAddress string
	// StoreURL is where buyer and thief shop; WarehouseURL is where a store restocks.
	StoreURL, WarehouseURL string
	// Interval is the time between two purchases, at least 10 ms.
	Interval time.Duration
	// Timeout limits one request to another role.
	Timeout time.Duration
	// Drain is how long the process keeps serving, unready, after it was asked to stop.
	Drain time.Duration

	// Listen opens the addresses; net.ListenConfig's method in production.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Client sends the requests to other roles.
	Client *http.Client
	// Now returns the time that the page shows.
	Now func() time.Time
	// Log receives events.
	Log *slog.Logger
}

const minInterval = 10 * time.Millisecond

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if !slices.Contains(Roles(), c.Role) {
		return fmt.Errorf("role %q: choose one of %v", c.Role, Roles())
	}
	if c.Identity == "" {
		return errors.New("identity is empty: name the process, such as bookstore-v1")
	}
	if c.Role.serves() && c.ServiceAddress == c.PageAddress {
		return fmt.Errorf("service address %q: must differ from the page address", c.ServiceAddress)
	}
	if c.Role.shops() && c.Interval < minInterval {
		return fmt.Errorf("interval %s: must be at least %s", c.Interval, minInterval)
	}
	if c.Timeout <= 0 || c.Drain < 0 {
		return fmt.Errorf("timeout %s and drain %s: timeout must be above 0, drain at least 0", c.Timeout, c.Drain)
	}
	if c.Role.shops() {
		return checkURL("bookstore URL", c.StoreURL)
	}
	if c.Role == Store {
		return checkURL("bookwarehouse URL", c.WarehouseURL)
	}
	return nil
}

func checkURL(what, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s %q: %w", what, raw, err)
	}
	if u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%s %q: want http://host:port", what, raw)
	}
	return nil
}
