package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// rotationReport is the JSON and YAML output.
type rotationReport struct {
	Mesh    string          `json:"mesh"`
	Goal    string          `json:"goal"` // "" without a rotation
	Phase   rotation.Phase  `json:"phase"`
	Done    bool            `json:"done"` // the goal was reached
	Proxies []rotation.Line `json:"proxies"`
	Waiting []rotation.Wait `json:"waiting"`
	Blocked string          `json:"blocked"` // what has to be fixed, or ""
}

// report converts a page of the controller, which may not know the goal yet.
func (r *rotator) report(goal string, page rotation.State) rotationReport {
	report := rotationReport{Mesh: r.mesh.Name, Goal: goal, Phase: cmp.Or(page.Step.Phase, rotation.Idle), Proxies: append([]rotation.Line{}, page.Proxies...), Waiting: []rotation.Wait{}}
	if page.Step.Goal == goal {
		report.Done, report.Blocked = page.Step.Phase == rotation.Done, page.Step.Blocked
		report.Waiting = append(report.Waiting, page.Step.Waiting...)
	}
	slices.SortStableFunc(report.Proxies, func(a, b rotation.Line) int {
		return cmp.Or(strings.Compare(a.Pod, b.Pod), strings.Compare(a.Replica, b.Replica))
	})
	return report
}

// write writes the report. The table lists the proxies only.
func (r *rotator) write(report rotationReport) error {
	grid := output.Grid{Header: []string{"POD", "IDENTITY", "REPLICA", "SERIAL", "ROOT", "TRUSTS", "NOT AFTER", "ACKNOWLEDGED AT"}}
	for _, p := range report.Proxies {
		grid.Rows = append(grid.Rows, []string{p.Pod, p.Identity, p.Replica, p.Serial, p.Root, strings.Join(p.Trusts, ","), moment(p.NotAfter), moment(p.At)})
	}
	return output.Write(r.env.Out, r.format, report, grid)
}

func moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// showStatus prints the state of the rotation and changes nothing.
func (r *rotator) showStatus(ctx context.Context) error {
	page, pod, err := r.look(ctx)
	if err != nil {
		return err
	}
	report := r.report(page.Step.Goal, page)
	if r.format == output.Table {
		r.env.Printf("mesh [%s] in namespace [%s], as seen by %s\n", r.mesh.Name, r.mesh.Namespace, pod)
		for _, root := range page.Roots {
			problem := ""
			if root.Problem != "" {
				problem = ": " + root.Problem
			}
			r.env.Printf("root %s is %s%s\n", root.Name, root.Role, problem)
		}
		r.env.Printf("%s\n\n", output.Lines(r.stateText(page.Step)))
	}
	return r.write(report)
}

func (r *rotator) stateText(step rotation.Step) string {
	if step.Goal == "" {
		return "no rotation is in progress"
	}
	text := fmt.Sprintf("rotation to root %s\n%s", step.Goal, stepText(step))
	if step.Abortable {
		text += "\nto go back: " + r.abortHint()
	}
	return text
}

// goBack requests a rotation back to the root that signed before the current rotation.
func (r *rotator) goBack(ctx context.Context) error {
	back, err := r.planRetreat(ctx)
	if err != nil {
		return err
	}
	r.env.Progressf("mesh [%s] in namespace [%s]: aborting the rotation; root %s (%s) signs again\n", r.mesh.Name, r.mesh.Namespace, back.root.Name, provider.Of(back.root.Spec.Provider).Location(back.root.Spec.Provider))
	if err := r.confirm(fmt.Sprintf("Go back to root %s?", back.root.Name)); err != nil {
		return err
	}
	for { // the driver may write at the same time: its roles win, and may leave no root to go back to
		err := r.requestRoot(ctx, back.root, back.at)
		if err == nil {
			return r.wait(ctx, back.root.Name, back.former)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		was := back.root.Name
		if back, err = r.planRetreat(ctx); err != nil {
			return err
		}
		if back.root.Name != was {
			return errors.New("the roots were changed in the meantime; check them with " + r.statusHint() + " and run the command again")
		}
	}
}

// retreat returns the root to go back to, and the roots that are then dropped.
type retreat struct {
	root   *cluster.RootCertificate
	at     time.Time
	former []cluster.RootCertificate
}

func (r *rotator) planRetreat(ctx context.Context) (retreat, error) {
	objects, err := r.clients.Roots(ctx, r.mesh.Namespace)
	if err != nil {
		return retreat{}, err
	}
	roots := rootsOf(objects)
	target, err := rotation.Abort(roots)
	if err != nil {
		return retreat{}, err
	}
	back := retreat{at: later(r.env.Now(), objects)}
	for i := range objects {
		switch {
		case objects[i].Name == target.Name:
			back.root = &objects[i]
		case roots[i].Role != rotation.Inactive:
			back.former = append(back.former, objects[i])
		}
	}
	return back, nil
}
