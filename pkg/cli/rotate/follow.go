package rotate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// shownWaits limits how many of the waits are listed.
const shownWaits = 3

// follower follows a rotation until it is complete. The roots show whether it is; the leader reports what
// the rotation waits for.
type follower struct {
	goal  string
	roots func(context.Context) ([]rotation.Root, error)
	look  func(context.Context) (page rotation.State, pod string, err error)
	every time.Duration
	show  *progress
}

// run returns the last page that it read, even with an error: the rotation was ended by someone else, or
// ctx is done.
func (f *follower) run(ctx context.Context) (rotation.State, error) {
	var last rotation.State
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		page, over, err := f.round(ctx)
		if page != nil {
			last = *page
		}
		if over || err != nil {
			return last, err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return last, context.Cause(ctx)
}

// round polls once. The page is nil if the leader cannot be reached. Failed requests are printed and
// are not errors: the rotation does not depend on this command.
func (f *follower) round(ctx context.Context) (page *rotation.State, over bool, err error) {
	roots, err := f.roots(ctx)
	if err != nil {
		f.show.lost(ctx, err)
		return nil, false, nil
	}
	settled, err := settled(roots, f.goal)
	if err != nil {
		return nil, false, err
	}
	shown, pod, err := f.look(ctx)
	if err != nil {
		f.show.lost(ctx, err)
		return nil, false, nil
	}
	over = settled && idle(shown.Step)
	f.show.page(pod, f.goal, shown.Step, over)
	return &shown, over, nil
}

func idle(step rotation.Step) bool {
	return step.Phase == rotation.Idle || step.Phase == rotation.Done
}

// settled reports whether the mesh has reached the root that is the goal. It returns an error if it
// never will.
func settled(roots []rotation.Root, name string) (bool, error) {
	var own rotation.Root
	for _, root := range roots {
		if root.Name == name {
			own = root
		}
	}
	goal, asked := rotation.Goal(roots)
	switch {
	case own.Name == "":
		return false, fmt.Errorf("MeshRootCertificate %s was deleted in the meantime", name)
	case asked && goal.Name != name:
		return false, fmt.Errorf("another rotation was requested in the meantime: to root %s, not %s", goal.Name, name)
	case asked:
		return false, nil
	case own.Role != rotation.Active || len(rotation.Trusted(roots)) > 1:
		return false, fmt.Errorf("the rotation to root %s was ended before it was complete: that root is %s", name, own.Role)
	}
	return true, nil
}

// progress prints a line whenever the state changes.
type progress struct {
	*output.Progress
	env  *command.Env
	last string // the last printed text of the step
	pod  string // the last known leader
	away bool   // the leader cannot be reached
}

func newProgress(env *command.Env) *progress {
	return &progress{Progress: output.NewProgress(env.Err, env.Now), env: env}
}

func (t *progress) page(pod, goal string, step rotation.Step, over bool) {
	if t.pod != "" && t.pod != pod {
		t.print(pod + " is now the leader")
	} else if t.away {
		t.print(pod + " can be reached again")
	}
	t.pod, t.away = pod, false
	text := stepText(step)
	if step.Goal != goal {
		text = pod + " is the leader and has not seen the request yet"
	}
	if text != t.last && (step.Goal == goal || !over) {
		t.last = text
		t.print(text)
	}
}

// lost prints once that the controller cannot be reached. The caller reports the end of ctx.
func (t *progress) lost(ctx context.Context, err error) {
	if t.away || ctx.Err() != nil {
		return
	}
	t.away = true
	t.print(err.Error() + "; retrying")
}

func (t *progress) print(text string) {
	t.env.Progressf("%-8s %s\n", t.Elapsed(), output.Lines(text))
}

// stepText describes a step: one line, and one more for each of the first waits.
func stepText(step rotation.Step) string {
	switch {
	case step.Blocked != "":
		return step.String() + "; it continues on its own once that is fixed"
	case len(step.Waiting) == 0:
		return step.String()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: waiting for %d", step.Phase, len(step.Waiting))
	for i, wait := range step.Waiting {
		if i == shownWaits {
			fmt.Fprintf(&text, "\n           and %d more", len(step.Waiting)-i)
			break
		}
		text.WriteString(output.Sprintf("\n           %s", wait))
	}
	return text.String()
}

// wait follows a rotation to the end, or with --no-wait reports its state once.
func (r *rotator) wait(ctx context.Context, goal string, former []cluster.RootCertificate) error {
	if r.noWait {
		page, _, err := r.look(ctx)
		if err != nil {
			r.env.Warnf("the rotation was requested; %v", err)
		}
		r.env.Progressf("the rotation to root %s was requested; show its progress with %s\n", goal, r.statusHint())
		if r.format == output.Table {
			return nil
		}
		return r.write(r.report(goal, page))
	}
	f := &follower{goal: goal, look: r.leader.look, every: r.env.Poll, show: newProgress(r.env)}
	f.roots = func(ctx context.Context) ([]rotation.Root, error) {
		roots, err := r.clients.Roots(ctx, r.mesh.Namespace)
		return rootsOf(roots), err
	}
	page, err := f.run(ctx)
	report := r.report(goal, page)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; the rotation continues in the cluster without this command: show its progress with %s", err, r.statusHint())
			if page.Step.Abortable || page.Step.Goal != goal {
				err = fmt.Errorf("%w, or abort it with %s", err, r.abortHint())
			}
		}
		if r.format == output.Table {
			return err
		}
		return errors.Join(r.write(report), err)
	}
	report.Phase, report.Done, report.Waiting, report.Blocked = rotation.Done, true, []rotation.Wait{}, ""
	if err := r.write(report); err != nil || r.format != output.Table {
		return err
	}
	r.printOutcome(goal, former)
	return nil
}

// printOutcome prints the state of the previous roots.
func (r *rotator) printOutcome(goal string, former []cluster.RootCertificate) {
	r.env.Printf("\nroot %s signs", goal)
	for i := range former {
		r.env.Printf("; root %s is no longer trusted", former[i].Name)
		if secret := provider.RootSecret(former[i].Spec.Provider); secret != "" {
			r.env.Printf(", its key is still in Secret %s (kubectl delete meshrootcertificate/%s secret/%s -n %s deletes both)", secret, former[i].Name, secret, r.mesh.Namespace)
		}
	}
	r.env.Printf("\n")
}
