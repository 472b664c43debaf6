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
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// rotationReport is what programs are given.
type rotationReport struct {
	Mesh    string          `json:"mesh"`
	Goal    string          `json:"goal"` // "" without a rotation
	Phase   rotation.Phase  `json:"phase"`
	Done    bool            `json:"done"` // the goal was reached
	Proxies []rotation.Line `json:"proxies"`
	Waiting []rotation.Wait `json:"waiting"`
	Blocked string          `json:"blocked"` // what has to be fixed; "" for nothing
}

// report is a page that the controller showed, for programs. It may not know of the goal yet.
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

// write writes the report; the table has the proxies only.
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

// showStatus shows where the mesh is, and changes nothing.
func (r *rotator) showStatus(ctx context.Context) error {
	page, pod, err := r.look(ctx)
	if err != nil {
		return err
	}
	report := r.report(page.Step.Goal, page)
	if r.format == output.Table {
		r.env.Printf("mesh [%s] in namespace [%s], as %s sees it\n", r.mesh.Name, r.mesh.Namespace, pod)
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
		return "no rotation is under way"
	}
	text := fmt.Sprintf("rotation to root %s\n%s", step.Goal, stepText(step))
	if step.Abortable {
		text += "\nback: " + r.abortHint()
	}
	return text
}

// turnAround asks for the root that signed before the rotation that is under way.
func (r *rotator) turnAround(ctx context.Context) error {
	back, err := r.wayBack(ctx)
	if err != nil {
		return err
	}
	r.env.Progressf("mesh [%s] in namespace [%s]: the rotation is turned round, root %s (%s) signs again\n", r.mesh.Name, r.mesh.Namespace, back.root.Name, rootLocation(back.root.Spec.Provider))
	if err := r.confirm(fmt.Sprintf("Go back to root %s?", back.root.Name)); err != nil {
		return err
	}
	for { // the driver may be writing at the same time: its roles count, and may leave no way back
		err := r.requestRoot(ctx, back.root, back.at)
		if err == nil {
			return r.wait(ctx, back.root.Name, back.others)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		was := back.root.Name
		if back, err = r.wayBack(ctx); err != nil {
			return err
		}
		if back.root.Name != was {
			return errors.New("the roots were changed meanwhile; look at them with " + r.lookHint() + " and run the command again")
		}
	}
}

// wayBack is the root to go back to, and those that are dropped then.
type wayBack struct {
	root   *cluster.RootCertificate
	at     time.Time
	others []cluster.RootCertificate
}

func (r *rotator) wayBack(ctx context.Context) (wayBack, error) {
	objects, err := r.clients.Roots(ctx, r.mesh.Namespace)
	if err != nil {
		return wayBack{}, err
	}
	roots := rootsOf(objects)
	target, err := rotation.Abort(roots)
	if err != nil {
		return wayBack{}, err
	}
	back := wayBack{at: later(r.env.Now(), objects)}
	for i := range objects {
		switch {
		case objects[i].Name == target.Name:
			back.root = &objects[i]
		case roots[i].Role != rotation.Inactive:
			back.others = append(back.others, objects[i])
		}
	}
	return back, nil
}
