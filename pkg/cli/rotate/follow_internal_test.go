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

// script is a rotation as a follower sees it: one entry a round, the last one again and again.
type script []struct {
	roots []rotation.Root
	fault error // of reading the roots
	pod   string
	step  rotation.Step
	lost  error // of asking the pod
}

func (s script) follow(t *testing.T, limit time.Duration) (told string, rounds int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("time is up"))
		defer cancel()
		var out bytes.Buffer
		at := func() int { return min(rounds, len(s)) - 1 }
		f := &follower{
			goal: "b", every: 2 * time.Second, tell: newTeller(&command.Env{Err: &out, Now: time.Now}),
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
		told = out.String()
	})
	return told, rounds, err
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

// A follower tells what changes, once, and goes on whoever leads and whatever fails on the way.
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
		{roots: over, pod: "c-1", step: waitsFor(rotation.DropOld)}, // it has not planned since the last write
		{roots: over, pod: "c-1", lost: errors.New("ask c-1: reset")},
		{roots: over, pod: "c-0", step: rotation.Step{Phase: rotation.Idle}},
	}
	told, rounds, err := s.follow(t, time.Hour)
	if err != nil || rounds != len(s) {
		t.Errorf("%d rounds, %v; want %d", rounds, err, len(s))
	}
	want := `0s       trust-both: waits for 1
           proxy till (is late)
4s       list: refused; trying again
8s       c-0 answers again
10s      ask c-1: refused; trying again
12s      c-1 leads now
12s      trust-both: waits for 5
           proxy a (is late)
           proxy b (is late)
           proxy c (is late)
           and 2 more
14s      drop-old
16s      ask c-1: reset; trying again
18s      c-0 leads now
`
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// A follower ends when the rotation cannot reach its goal any more, and when its own time is over.
func TestFollowEnds(t *testing.T) {
	begun := rolesOf(active, passive, "b")
	tests := map[string]struct {
		roots []rotation.Root
		want  string
	}{
		"another root":       {rolesOf(active, passive, "b", "a"), "somebody asked for another root meanwhile: the rotation leads to a now, and not to b"},
		"the root is gone":   {begun[:1], "MeshRootCertificate b was deleted meanwhile"},
		"the wish is gone":   {rolesOf(active, passive), "somebody has ended the rotation to root b before it was over: it is passive"},
		"both are left":      {rolesOf(passive, active), "somebody has ended the rotation to root b before it was over: it is active"},
		"it goes on for now": {begun, "time is up"},
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
