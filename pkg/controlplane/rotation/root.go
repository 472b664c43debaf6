package rotation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role is what a root is used for.
type Role string

// The roles, as in OSM's API.
const (
	// Active roots are trusted, and one of them signs.
	Active Role = "active"
	// Passive roots are trusted.
	Passive Role = "passive"
	// Inactive roots are not used.
	Inactive Role = "inactive"
)

// Root is a root CA as the cluster holds it.
type Root struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Fingerprint is the CA's; it may be empty while the root is inactive.
	Fingerprint string `json:"fingerprint,omitempty"`
	// WantedAt is when a rotation to this root, or back to it, was requested; zero means never. The root
	// that was requested last is the goal. The time is stored with the root.
	WantedAt time.Time `json:"wantedAt,omitzero"`
	// Problem says why the root cannot be used; empty when it can.
	Problem string `json:"problem,omitempty"`
}

// newest orders roots by the time of the request, the latest first, then by name.
func newest(a, b Root) int {
	return cmp.Or(b.WantedAt.Compare(a.WantedAt), strings.Compare(a.Name, b.Name))
}

// Signer returns the root that every replica signs with. While two roots are active, as between two writes, it
// is the one requested last, so that all replicas choose the same. Without an active root ok is false, and
// a replica keeps its signer.
func Signer(roots []Root) (root Root, ok bool) {
	active := withRole(roots, Active)
	if len(active) == 0 {
		return Root{}, false
	}
	return slices.MinFunc(active, newest), true
}

// Trusted returns the roots that every replica distributes as trusted, sorted by name.
func Trusted(roots []Root) []Root {
	trusted := append(withRole(roots, Active), withRole(roots, Passive)...)
	slices.SortFunc(trusted, func(a, b Root) int { return strings.Compare(a.Name, b.Name) })
	return trusted
}

func withRole(roots []Root, role Role) []Root {
	return slices.DeleteFunc(slices.Clone(roots), func(r Root) bool { return r.Role != role })
}

// Goal returns the root that a rotation leads to; ok is false if none was requested.
func Goal(roots []Root) (root Root, ok bool) {
	if len(roots) == 0 {
		return Root{}, false
	}
	goal := slices.MinFunc(roots, newest)
	return goal, !goal.WantedAt.IsZero()
}

// Abort returns the root to request in order to go back. It fails if the previous root is no longer
// trusted; then only a new rotation leads back to it.
func Abort(roots []Root) (Root, error) {
	goal, ok := Goal(roots)
	if !ok {
		return Root{}, errors.New("no rotation is in progress")
	}
	former := slices.DeleteFunc(Trusted(roots), func(r Root) bool { return r.Name == goal.Name })
	if active := withRole(former, Active); len(active) > 0 {
		former = active
	}
	switch len(former) {
	case 0:
		return Root{}, fmt.Errorf("the rotation to root %s cannot be aborted: the previous root is no longer trusted; start a new rotation to go back to it", goal.Name)
	case 1:
		return former[0], nil
	}
	back := slices.MinFunc(former, newest)
	if back.WantedAt.IsZero() {
		return Root{}, fmt.Errorf("the rotation to root %s cannot be aborted: %s are both trusted; start a rotation to the one that is to sign", goal.Name, names(former))
	}
	return back, nil
}

func names(roots []Root) string {
	list := make([]string, len(roots))
	for i, r := range roots {
		list[i] = r.Name
	}
	return strings.Join(list, " and ")
}

// check returns an error if the set of roots is invalid.
func check(roots []Root) error {
	seen := map[string]bool{}
	for _, r := range roots {
		switch {
		case r.Name == "" || seen[r.Name]:
			return fmt.Errorf("two roots are named %q", r.Name)
		case r.Role != Active && r.Role != Passive && r.Role != Inactive:
			return fmt.Errorf("root %s has role %q: want %s, %s or %s", r.Name, r.Role, Active, Passive, Inactive)
		case r.Role != Inactive && r.Fingerprint == "" && r.Problem == "":
			return fmt.Errorf("root %s is not loaded yet", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}
