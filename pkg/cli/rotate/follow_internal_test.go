package rotate

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// script is what a follower reads: one entry for each round, the last one repeatedly.
type script []struct {
	roots []rotation.Root
	fault error // when reading the roots
	pod   string
	step  rotation.Step
	lost  error // when asking the pod
}

func (s script) follow(t *testing.T, limit time.Duration) (printed string, rounds int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("time is up"))
		defer cancel()
		var out bytes.Buffer
		at := func() int { return min(rounds, len(s)) - 1 }
		f := &follower{
			goal: "b", every: 2 * time.Second, show: newProgress(&command.Env{Err: &out, Now: time.Now}),
			roots: func(context.Context) ([]rotation.Root, error) {
				rounds++
				return s[at()].roots, s[at()].fault
			},
			look: func(context.Context) (rotation.State, string, error) {
				now := s[at()]
				return rotation.State{Step: now.step}, now.pod, now.lost
			},
		}
		_, err = f.run(ctx)
		printed = out.String()
	})
	return printed, rounds, err
}

func rolesOf(a, b rotation.Role, wanted ...string) []rotation.Root {
	roots := []rotation.Root{{Name: "a", Role: a}, {Name: "b", Role: b}}
	for i := range roots {
		for j, name := range wanted {
			if roots[i].Name == name {
				roots[i].WantedAt = time.Unix(int64(j+1), 0)
			}
		}
	}
	return roots
}

func waitsFor(phase rotation.Phase, names ...string) rotation.Step {
	step := rotation.Step{Phase: phase, Goal: "b"}
	for _, name := range names {
		step.Waiting = append(step.Waiting, rotation.Wait{Kind: "proxy", Name: name, For: "is late"})
	}
	return step
}

const (
	active   = rotation.Active
	passive  = rotation.Passive
	inactive = rotation.Inactive
)

// A follower prints each change once, and continues when the leader changes or a request fails.
func TestFollow(t *testing.T) {
	begun := rolesOf(active, passive, "b")
	over := rolesOf(inactive, active)
	step := waitsFor(rotation.TrustBoth, "till")
	s := script{
		{roots: begun, pod: "c-0", step: step},
		{roots: begun, pod: "c-0", step: step},
		{roots: begun, fault: errors.New("list: refused")},
		{roots: begun, pod: "c-0", lost: errors.New("ask c-0: reset")},
		{roots: begun, pod: "c-0", step: step},
		{roots: begun, pod: "c-1", lost: errors.New("ask c-1: refused")},
		{roots: begun, pod: "c-1", step: waitsFor(rotation.TrustBoth, "a", "b", "c", "d", "e")},
		{roots: over, pod: "c-1", step: waitsFor(rotation.DropOld)}, // no new plan since the last write
		{roots: over, pod: "c-1", lost: errors.New("ask c-1: reset")},
		{roots: over, pod: "c-0", step: rotation.Step{Phase: rotation.Idle}},
	}
	printed, rounds, err := s.follow(t, time.Hour)
	if err != nil || rounds != len(s) {
		t.Errorf("%d rounds, %v; want %d", rounds, err, len(s))
	}
	want := `0s       trust-both: waiting for 1
           proxy till (is late)
4s       list: refused; retrying
8s       c-0 can be reached again
10s      ask c-1: refused; retrying
12s      c-1 is now the leader
12s      trust-both: waiting for 5
           proxy a (is late)
           proxy b (is late)
           proxy c (is late)
           and 2 more
14s      drop-old
16s      ask c-1: reset; retrying
18s      c-0 is now the leader
`
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// A follower ends when the rotation can no longer reach its goal, and at its own timeout.
func TestFollowEnds(t *testing.T) {
	begun := rolesOf(active, passive, "b")
	tests := map[string]struct {
		roots []rotation.Root
		want  string
	}{
		"another root":        {rolesOf(active, passive, "b", "a"), "another rotation was requested in the meantime: to root a, not b"},
		"the root is gone":    {begun[:1], "MeshRootCertificate b was deleted in the meantime"},
		"the request is gone": {rolesOf(active, passive), "the rotation to root b was ended before it was complete: that root is passive"},
		"both roots stay":     {rolesOf(passive, active), "the rotation to root b was ended before it was complete: that root is active"},
		"it continues":        {begun, "time is up"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			step := waitsFor(rotation.TrustBoth, "till")
			s := script{{roots: begun, pod: "c-0", step: step}, {roots: tt.roots, pod: "c-0", step: step}}
			if _, _, err := s.follow(t, time.Minute); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
