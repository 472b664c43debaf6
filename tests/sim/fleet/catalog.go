package fleet

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// Catalog is what all proxies of a run know about resources: each name has one number, and each version
// was decoded once. It belongs to one run and may be used by many fleets.
type Catalog struct {
	seed  maphash.Seed
	kinds [NumKinds]names

	// conflicts counts contents that had the version of another content.
	conflicts atomic.Int64
}

// names are the names of one kind.
type names struct {
	mu     sync.RWMutex
	byText map[string]*name
	list   []*name // by index
}

// name is the name of a resource.
type name struct {
	kind  Kind
	text  string
	index int

	probe atomic.Pointer[Probe]

	mu       sync.Mutex
	versions []*resource // the newest last
}

// keepVersions is how many versions of a name are remembered. Proxies that are further behind are
// looked up again, which only costs time.
const keepVersions = 32

// resource is one version of a resource. It is immutable.
type resource struct {
	name    *name
	version string
	hash    uint64
	refs    references
	// What refs names, once each.
	endpoints       *name
	secrets, routes []*name
}

// NewCatalog returns an empty catalog.
func NewCatalog() *Catalog {
	c := &Catalog{seed: maphash.MakeSeed()}
	for k := range c.kinds {
		c.kinds[k].byText = map[string]*name{}
	}
	return c
}

// Conflicts counts contents with a version that another content has had: a proxy that
// holds that version would never get the new content.
func (c *Catalog) Conflicts() int64 { return c.conflicts.Load() }

// name returns the name with the given text, and stores it.
func (c *Catalog) name(kind Kind, text []byte) *name {
	all := &c.kinds[kind]
	all.mu.RLock()
	n := all.byText[string(text)]
	all.mu.RUnlock()
	if n != nil {
		return n
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if n = all.byText[string(text)]; n == nil {
		n = &name{kind: kind, text: string(text), index: len(all.list)}
		all.byText[n.text] = n
		all.list = append(all.list, n)
	}
	return n
}

// at returns the name at an index.
func (c *Catalog) at(kind Kind, index int) *name {
	all := &c.kinds[kind]
	all.mu.RLock()
	defer all.mu.RUnlock()
	return all.list[index]
}

// resource returns what is known about an element, which it decodes the first time. In the state of the
// world an element's version is its content.
func (c *Catalog) resource(kind Kind, e element) (*resource, error) {
	n := c.name(kind, e.name)
	if kind == SDS {
		// Each proxy has its own secrets; there is nothing to share and nothing to learn from them.
		return &resource{name: n, version: string(e.version)}, nil
	}
	hash := maphash.Bytes(c.seed, e.body)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range slices.Backward(n.versions) {
		if len(e.version) == 0 && r.hash == hash || len(e.version) > 0 && string(e.version) == r.version {
			if r.hash == hash {
				return r, nil
			}
			c.conflicts.Add(1)
			break
		}
	}
	r, err := c.look(n, e, hash)
	if err != nil {
		return nil, err
	}
	n.versions = append(n.versions, r)
	if len(n.versions) > keepVersions {
		n.versions = slices.Delete(n.versions, 0, len(n.versions)-keepVersions)
	}
	return r, nil
}

func (c *Catalog) look(n *name, e element, hash uint64) (*resource, error) {
	refs, err := learn(n.kind, e.body)
	if err != nil {
		return nil, err
	}
	r := &resource{name: n, version: string(e.version), hash: hash, refs: refs}
	if refs.endpoints != "" {
		r.endpoints = c.name(EDS, []byte(refs.endpoints))
	}
	for _, text := range refs.secrets {
		r.secrets = append(r.secrets, c.name(SDS, []byte(text)))
	}
	for _, text := range refs.routes {
		r.routes = append(r.routes, c.name(RDS, []byte(text)))
	}
	return r, nil
}

// has reports whether an endpoint resource holds an address.
func (r *resource) has(address string) bool {
	_, found := slices.BinarySearch(r.refs.addresses, address)
	return found
}

// endpointsOf returns the endpoint resource that last held an address, nil if there is none.
func (c *Catalog) endpointsOf(address string) *name {
	all := &c.kinds[EDS]
	all.mu.RLock()
	list := slices.Clone(all.list)
	all.mu.RUnlock()
	for _, n := range list {
		n.mu.Lock()
		held := slices.ContainsFunc(n.versions, func(r *resource) bool { return r.has(address) })
		n.mu.Unlock()
		if held {
			return n
		}
	}
	return nil
}
