package leafcache

import (
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// Handle gives one user access to an identity's current leaf.
type Handle struct {
	cache   *Cache
	id      identity.Identity
	entry   *entry
	changed wake.Signal
}

// Identity is the identity that the leaf names.
func (h *Handle) Identity() identity.Identity { return h.id }

// Current returns the newest leaf. It is never nil between Acquire and Release.
func (h *Handle) Current() *ca.Leaf {
	h.cache.mu.Lock()
	defer h.cache.mu.Unlock()
	return h.entry.leaf
}

// Changed receives after Current has changed; changes in quick succession are received once.
// Reading Current after each receive misses nothing. The channel is never closed.
func (h *Handle) Changed() <-chan struct{} { return h.changed }

// Release releases the handle. Further calls do nothing.
func (h *Handle) Release() {
	c := h.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(h.entry.handles, h)
	if len(h.entry.handles) == 0 && c.entries[h.id] == h.entry {
		delete(c.entries, h.id)
	}
}
