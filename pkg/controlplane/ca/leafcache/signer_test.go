package leafcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
	"github.com/osm-edge/osm/tests/catest"
)

// TestLeavesFollowTheSigner: once another CA signs, all leaves in use are signed by it within five
// minutes, but not all at once, including one that was being issued at that moment.
func TestLeavesFollowTheSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &catest.Clock{}
		a, _ := catest.NewIssuer(t, clock.Now)
		b, rootB := catest.NewIssuer(t, clock.Now)
		slow := &catest.Counting{Authority: a}
		roots := catest.NewRootSet(t, slow, b)
		leaves, err := leafcache.New(leafcache.Config{Authority: handedOver{roots}, Now: clock.Now})
		must(t, err)
		roots.Subscribe(func(c ca.Change) {
			if c.Signer {
				leaves.ReissueSoon()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- leaves.Run(ctx) }()
		var handles []*leafcache.Handle
		for i := range 100 {
			handle, err := leaves.Acquire(t.Context(), catest.Workload(fmt.Sprintf("w%d", i)))
			must(t, err)
			handles = append(handles, handle)
		}
		late := make(chan *leafcache.Handle, 1)
		go func() { // requests from the old signer, and gets the leaf after the new one took over
			handle, err := leaves.Acquire(t.Context(), catest.Workload("late"))
			if err != nil {
				t.Error(err)
			}
			late <- handle
		}()
		synctest.Wait()
		must(t, roots.Set(b, slow))
		handles = append(handles, <-late)
		ofNew := func() (n int) {
			for _, handle := range handles {
				if roots.Trust().SignerOf(handle.Current().Chain()) == rootB.Fingerprint() {
					n++
				}
			}
			return n
		}
		if n := ofNew(); n > 10 {
			t.Errorf("%d of 101 reissued at once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := ofNew(); n < 5 || n > 50 {
			t.Errorf("%d of 101 reissued in the first of five minutes", n)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := ofNew(); n != 101 {
			t.Errorf("%d of 101 reissued after six minutes", n)
		}
		for _, handle := range handles {
			handle.Release()
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// handedOver is an authority whose response for "late" takes a second to arrive.
type handedOver struct{ ca.Authority }

func (h handedOver) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	leaf, err := h.Authority.Issue(ctx, req)
	if req.Identity == catest.Workload("late") {
		time.Sleep(time.Second)
	}
	return leaf, err
}
