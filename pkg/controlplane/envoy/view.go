package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// View is the whole configuration of the proxies of one class: references to shared resources.
// It never changes; a Config keeps the View of the Config before it where nothing changed, so
// that a pointer tells.
type View struct {
	sets    [numKinds]Set
	version string
}

// Set is the resources of one kind in a View.
type Set struct {
	sorted  []*Resource
	byName  map[string]*Resource
	version string
}

// Set returns the resources of a kind.
func (v *View) Set(k Kind) *Set { return &v.sets[k] }

// All returns the resources sorted by name. Not to be changed.
func (s *Set) All() []*Resource { return s.sorted }

// Named returns the resource of that name, or nil.
func (s *Set) Named(name string) *Resource { return s.byName[name] }

// Version is the hash of the names and versions of all resources of the set.
func (s *Set) Version() string { return s.version }

func newSet(resources []*Resource) Set {
	slices.SortFunc(resources, func(a, b *Resource) int { return strings.Compare(a.Name, b.Name) })
	set := Set{sorted: resources, byName: make(map[string]*Resource, len(resources))}
	for _, r := range resources {
		set.byName[r.Name] = r
	}
	set.version = VersionOf(resources)
	return set
}

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

// NewView makes a View of resources, of which it takes ownership.
func NewView(resources map[Kind][]*Resource) *View {
	v := &View{}
	var versions strings.Builder
	for _, k := range Kinds() {
		v.sets[k] = newSet(resources[k])
		versions.WriteString(v.sets[k].version)
	}
	v.version = versionOf([]byte(versions.String()))
	return v
}
