package envoy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"
)

// Set is resources of one kind, sorted by name. It never changes, so that streams can remember
// what they sent by pointing at it.
type Set struct {
	sorted []*Resource
	// version is made when a state-of-the-world stream asks: nobody else needs it.
	version func() string
	// whole is the Diff from nothing, which new streams ask for.
	whole func() *Diff
	// last is the other Diff that was asked for last: after a change nearly all streams ask for the same.
	last atomic.Pointer[Diff]
}

// NewSet makes a Set of resources with distinct names. It takes ownership of the slice.
func NewSet(resources []*Resource) *Set {
	slices.SortFunc(resources, byName)
	return sortedSet(resources)
}

func sortedSet(sorted []*Resource) *Set {
	return &Set{
		sorted:  sorted,
		version: sync.OnceValue(func() string { return VersionOf(sorted) }),
		whole:   sync.OnceValue(func() *Diff { return newDiff(sorted) }),
	}
}

func byName(a, b *Resource) int { return strings.Compare(a.Name, b.Name) }

// All returns the resources sorted by name. Not to be changed.
func (s *Set) All() []*Resource { return s.sorted }

// Named returns the resource of that name, or nil.
func (s *Set) Named(name string) *Resource {
	if i, found := slices.BinarySearchFunc(s.sorted, name, compareName); found {
		return s.sorted[i]
	}
	return nil
}

func compareName(r *Resource, name string) int { return strings.Compare(r.Name, name) }

// Version is the hash of the names and versions of all resources of the set.
func (s *Set) Version() string { return s.version() }

// VersionOf is the version of a list of resources sorted by name: what a state-of-the-world
// response that carries exactly these is labelled with.
func VersionOf(sorted []*Resource) string {
	hash := sha256.New()
	for _, r := range sorted {
		// Names hold no NUL and versions have a fixed length, so the concatenation is unambiguous.
		hash.Write([]byte(r.Name + "\x00" + r.Version))
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// replace returns the Set without what is gone and with what is new, by name; the Set itself when
// that is the same.
func (s *Set) replace(gone map[string]bool, added []*Resource) *Set {
	if len(gone) == 0 && len(added) == 0 {
		return s
	}
	slices.SortFunc(added, byName)
	merged := make([]*Resource, 0, len(s.sorted)+len(added))
	same := true
	for _, r := range s.sorted {
		for len(added) > 0 && added[0].Name < r.Name {
			merged, added, same = append(merged, added[0]), added[1:], false
		}
		switch {
		case len(added) > 0 && added[0].Name == r.Name:
			if added[0].Version == r.Version {
				added[0] = r // built again, and nothing is different
			}
			same = same && added[0] == r
			merged, added = append(merged, added[0]), added[1:]
		case gone[r.Name]:
			same = false
		default:
			merged = append(merged, r)
		}
	}
	if same && len(added) == 0 {
		return s
	}
	return sortedSet(append(merged, added...))
}

// Diff is what turns an older Set into a newer one.
type Diff struct {
	// Changed are the resources that are new or have another version than in the older Set, sorted by name.
	Changed []*Resource
	// Removed are the names that only the older Set has, sorted.
	Removed []string

	from    weak.Pointer[Set] // a strong one would keep every Set that there ever was
	encoded func() []byte
}

func newDiff(changed []*Resource) *Diff {
	d := &Diff{Changed: changed}
	d.encoded = sync.OnceValue(func() []byte { return Encode(d.Changed) })
	return d
}

// Since returns what changed from older to s; nil stands for the empty Set. Diffs are shared.
func (s *Set) Since(older *Set) *Diff {
	if older == nil {
		return s.whole()
	}
	from := weak.Make(older)
	if d := s.last.Load(); d != nil && d.from == from {
		return d
	}
	d := diff(older, s)
	d.from = from
	s.last.Store(d)
	return d
}

func diff(older, newer *Set) *Diff {
	d := newDiff(nil)
	if older == newer {
		return d
	}
	before := older.sorted
	for _, r := range newer.sorted {
		for len(before) > 0 && before[0].Name < r.Name {
			d.Removed, before = append(d.Removed, before[0].Name), before[1:]
		}
		if len(before) > 0 && before[0].Name == r.Name {
			if before[0] != r && before[0].Version != r.Version {
				d.Changed = append(d.Changed, r)
			}
			before = before[1:]
			continue
		}
		d.Changed = append(d.Changed, r)
	}
	for _, r := range before {
		d.Removed = append(d.Removed, r.Name)
	}
	return d
}

// Empty reports whether the two Sets are the same.
func (d *Diff) Empty() bool { return len(d.Changed) == 0 && len(d.Removed) == 0 }

// Delta returns Encode(Changed), made once for all streams.
func (d *Diff) Delta() []byte { return d.encoded() }

// Encode puts resources together as the elements of DeltaDiscoveryResponse.resources.
func Encode(resources []*Resource) []byte {
	if len(resources) == 1 {
		return resources[0].Delta()
	}
	parts := make([][]byte, len(resources))
	for i, r := range resources {
		parts[i] = r.Delta()
	}
	return bytes.Join(parts, nil)
}
