package xds

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// syncSlots bounds how many proxies get their first configuration at the same time. A free slot goes to the
// party that holds the fewest, among equals to the one that has waited longest. No party holds more than its
// share, so that proxies that never answer do not keep others waiting.
type syncSlots struct {
	share int

	mu      sync.Mutex
	free    int
	held    map[party]int
	waiting []*slotRequest // the longest first
}

// party is the unit of fairness. An address alone could be a node's, which hides its pods' addresses; an
// identity alone could be that of most pods of the mesh.
type party struct {
	identity identity.Identity
	source   netip.Addr
}

// slotRequest waits for a slot.
type slotRequest struct {
	party   party
	granted chan struct{}
}

func newSyncSlots(n int) *syncSlots {
	return &syncSlots{free: n, share: max(1, n/8), held: map[party]int{}}
}

// take waits for a slot; put returns it.
func (t *syncSlots) take(ctx context.Context, of party) error {
	w := &slotRequest{of, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.grant()
	t.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	} else {
		t.release(of) // it was granted at the last moment
	}
	return ctx.Err()
}

// put returns a slot.
func (t *syncSlots) put(of party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(of)
}

func (t *syncSlots) release(of party) {
	t.free++
	if t.held[of]--; t.held[of] == 0 {
		delete(t.held, of)
	}
	t.grant()
}

// grant assigns the free slots. t.mu is held.
func (t *syncSlots) grant() {
	for t.free > 0 {
		i := t.fairest()
		if i < 0 {
			return
		}
		w := t.waiting[i]
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.free--
		t.held[w.party]++
		close(w.granted)
	}
}

// fairest returns the index of the request that gets the next slot, -1 for none.
func (t *syncSlots) fairest() int {
	best, least := -1, t.share
	for i, w := range t.waiting {
		if n := t.held[w.party]; n < least {
			best, least = i, n
		}
		if least == 0 {
			break
		}
	}
	return best
}
