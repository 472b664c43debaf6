package xds

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// turns says which proxies are configured for the first time at the moment: only so many, and of those who
// wait the one whose party has the fewest turns, the longest waiting first. A party has a share of them at
// the most, so that one that never answers does not keep the others waiting.
type turns struct {
	share int

	mu      sync.Mutex
	free    int
	held    map[party]int
	waiting []*turn // the longest first
}

// party is who shares turns fairly with others. An address alone could be a node's, behind which its pods'
// are hidden; an identity alone could be that of most pods of the mesh.
type party struct {
	identity identity.Identity
	source   netip.Addr
}

// turn is one that is waited for.
type turn struct {
	of    party
	given chan struct{}
}

func newTurns(n int) *turns {
	return &turns{free: n, share: max(1, n/8), held: map[party]int{}}
}

// take waits for a turn, which then has to be given back.
func (t *turns) take(ctx context.Context, of party) error {
	w := &turn{of, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.next()
	t.mu.Unlock()
	select {
	case <-w.given:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	} else {
		t.back(of) // it came at the last moment
	}
	return ctx.Err()
}

// give gives a turn back.
func (t *turns) give(of party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.back(of)
}

func (t *turns) back(of party) {
	t.free++
	if t.held[of]--; t.held[of] == 0 {
		delete(t.held, of)
	}
	t.next()
}

// next gives the free turns away. t.mu is held.
func (t *turns) next() {
	for t.free > 0 {
		i := t.fairest()
		if i < 0 {
			return
		}
		w := t.waiting[i]
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.free--
		t.held[w.of]++
		close(w.given)
	}
}

// fairest is whose turn it is, -1 for nobody.
func (t *turns) fairest() int {
	best, least := -1, t.share
	for i, w := range t.waiting {
		if n := t.held[w.of]; n < least {
			best, least = i, n
		}
		if least == 0 {
			break
		}
	}
	return best
}
