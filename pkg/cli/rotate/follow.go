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
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// shownWaits is how many of those who are waited for are named.
const shownWaits = 3

// follower follows a rotation until it is over. The roots show whether it is; the leading controller
// shows what the rotation waits for.
type follower struct {
	goal  string
	roots func(context.Context) ([]rotation.Root, error)
	look  func(context.Context) (page rotation.State, pod string, err error)
	every time.Duration
	tell  *teller
}

// run returns the last page that was seen, also beside an error: of a rotation that somebody else
// has turned round, or because ctx ended.
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

// round looks once. The page is nil when nobody shows it. Faults on the way are told, and are no
// error: nothing depends on this command.
func (f *follower) round(ctx context.Context) (page *rotation.State, over bool, err error) {
	roots, err := f.roots(ctx)
	if err != nil {
		f.tell.lost(ctx, err)
		return nil, false, nil
	}
	settled, err := settled(roots, f.goal)
	if err != nil {
		return nil, false, err
	}
	shown, pod, err := f.look(ctx)
	if err != nil {
		f.tell.lost(ctx, err)
		return nil, false, nil
	}
	over = settled && idle(shown.Step)
	f.tell.page(pod, f.goal, shown.Step, over)
	return &shown, over, nil
}

func idle(step rotation.Step) bool {
	return step.Phase == rotation.Idle || step.Phase == rotation.Done
}

// settled says whether the mesh has come to the root that is its goal. It is an error when it never
// will.
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
		return false, fmt.Errorf("MeshRootCertificate %s was deleted meanwhile", name)
	case asked && goal.Name != name:
		return false, fmt.Errorf("somebody asked for another root meanwhile: the rotation leads to %s now, and not to %s", goal.Name, name)
	case asked:
		return false, nil
	case own.Role != rotation.Active || len(rotation.Trusted(roots)) > 1:
		return false, fmt.Errorf("somebody has ended the rotation to root %s before it was over: it is %s", name, own.Role)
	}
	return true, nil
}

// teller tells a person about the progress: a line when anything changes.
type teller struct {
	*output.Progress
	env  *command.Env
	told string // of the step
	pod  string // that led when it was last asked
	away bool   // it could not be asked
}

func newTeller(env *command.Env) *teller {
	return &teller{Progress: output.NewProgress(env.Err, env.Now), env: env}
}

func (t *teller) page(pod, goal string, step rotation.Step, over bool) {
	if t.pod != "" && t.pod != pod {
		t.say(pod + " leads now")
	} else if t.away {
		t.say(pod + " answers again")
	}
	t.pod, t.away = pod, false
	text := stepText(step)
	if step.Goal != goal {
		text = pod + " leads, and has not seen yet what was asked for"
	}
	if text != t.told && (step.Goal == goal || !over) {
		t.told = text
		t.say(text)
	}
}

// lost tells once that the controller cannot be asked. The end of ctx is told elsewhere.
func (t *teller) lost(ctx context.Context, err error) {
	if t.away || ctx.Err() != nil {
		return
	}
	t.away = true
	t.say(err.Error() + "; trying again")
}

func (t *teller) say(text string) {
	t.env.Progressf("%-8s %s\n", t.Elapsed(), output.Lines(text))
}

// stepText is what people are told of a step: a line, and one for each of the first who are waited
// for.
func stepText(step rotation.Step) string {
	switch {
	case step.Blocked != "":
		return step.String() + "; it continues by itself once that is fixed"
	case len(step.Waiting) == 0:
		return step.String()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: waits for %d", step.Phase, len(step.Waiting))
	for i, wait := range step.Waiting {
		if i == shownWaits {
			fmt.Fprintf(&text, "\n           and %d more", len(step.Waiting)-i)
			break
		}
		text.WriteString(output.Sprintf("\n           %s", wait))
	}
	return text.String()
}

// wait follows a rotation to the end, or only shows where it is.
func (r *rotator) wait(ctx context.Context, goal string, former []cluster.RootCertificate) error {
	if r.noWait {
		page, _, err := r.look(ctx)
		if err != nil {
			r.env.Warnf("the rotation was asked for; %v", err)
		}
		r.env.Progressf("the rotation to root %s was asked for; look at it with %s\n", goal, r.lookHint())
		if r.format == output.Table {
			return nil
		}
		return r.write(r.report(goal, page))
	}
	f := &follower{goal: goal, look: r.leader.look, every: r.env.Poll, tell: newTeller(r.env)}
	f.roots = func(ctx context.Context) ([]rotation.Root, error) {
		roots, err := r.clients.Roots(ctx, r.mesh.Namespace)
		return rootsOf(roots), err
	}
	page, err := f.run(ctx)
	report := r.report(goal, page)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; the rotation goes on in the cluster without this command: look at it with %s", err, r.lookHint())
			if page.Step.Abortable || page.Step.Goal != goal {
				err = fmt.Errorf("%w, turn it round with %s", err, r.abortHint())
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
	r.farewell(goal, former)
	return nil
}

// farewell says what has become of the former roots.
func (r *rotator) farewell(goal string, former []cluster.RootCertificate) {
	r.env.Printf("\nroot %s signs", goal)
	for i := range former {
		r.env.Printf("; root %s is not trusted any more", former[i].Name)
		if secret := secretOf(former[i].Spec.Provider); secret != "" {
			r.env.Printf(", its key is still in Secret %s (kubectl delete meshrootcertificate/%s secret/%s -n %s deletes both)", secret, former[i].Name, secret, r.mesh.Namespace)
		}
	}
	r.env.Printf("\n")
}
