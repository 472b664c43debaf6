package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
)

// The pause between two steps, during a rotation and while there is none.
const (
	pauseBusy = 2 * time.Second
	pauseIdle = 5 * time.Second
)

// maxAge is how old the State may be that Debug returns.
const maxAge = 2 * time.Second

// Config configures a Driver. All fields but Every are required.
type Config struct {
	Dynamic   dynamic.Interface
	Namespace string
	// Roots are those of this replica. A root that it cannot load never becomes the signer.
	Roots collect.Roots
	// Collect collects the evidence. It is called after the roots are read.
	Collect func(context.Context) (rotation.Evidence, error)
	// Delivery is how long a Secret may take to reach a running pod.
	Delivery time.Duration
	// Every is the pause between two steps during a rotation; zero means 2 s.
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// Driver drives rotations on one replica while it is the leader.
type Driver struct {
	cfg Config

	mu       sync.Mutex // one observation at a time; guards the fields below
	leads    bool
	state    rotation.State
	logged   string    // the last step in the log
	reworded time.Time // when only the message of a status was last written
}

// New returns a Driver that does nothing until Run.
func New(cfg Config) *Driver { return &Driver{cfg: cfg} }

// Run drives until ctx ends, and returns its cause. Call it while this replica is the leader.
func (d *Driver) Run(ctx context.Context) error {
	d.setLeads(true)
	defer d.setLeads(false)
	for {
		rotating, err := d.step(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("root rotation: step failed, will retry", "error", err)
		}
		pause := pauseIdle
		if rotating {
			pause = cmp.Or(d.cfg.Every, pauseBusy)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (d *Driver) setLeads(leads bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leads, d.state, d.logged = leads, rotation.State{}, ""
}

// Debug returns the current State, which may be maxAge old.
func (d *Driver) Debug(ctx context.Context) rotation.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.leads {
		return rotation.State{}
	}
	if d.cfg.Now().Sub(d.state.At) > maxAge {
		ctx, cancel := context.WithTimeout(ctx, collect.Timeout)
		defer cancel()
		objects, err := provider.MeshRoots(ctx, d.cfg.Dynamic, d.cfg.Namespace)
		if err == nil {
			err = d.observe(ctx, objects)
		}
		if err != nil {
			d.state.Leads, d.state.Error = true, err.Error()
		}
	}
	return d.state
}

// step advances the rotation by one write at most, if one was requested.
func (d *Driver) step(ctx context.Context) (rotating bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	objects, err := provider.MeshRoots(ctx, d.cfg.Dynamic, d.cfg.Namespace)
	if err != nil {
		return false, err
	}
	roots := d.roots(objects)
	if _, rotating = rotation.Goal(roots); !rotating {
		return false, d.report(ctx, objects, roots)
	}
	if err := d.observe(ctx, objects); err != nil {
		return true, err
	}
	d.logStep()
	return true, d.act(ctx, objects)
}

// observe collects evidence and plans for the objects, which were read before.
func (d *Driver) observe(ctx context.Context, objects []v1alpha2.MeshRootCertificate) error {
	roots := d.roots(objects)
	evidence, err := d.cfg.Collect(ctx)
	if err != nil {
		return err
	}
	d.state = rotation.State{
		Leads: true, At: d.cfg.Now(), Roots: roots,
		Step:    rotation.Planner{Delivery: d.cfg.Delivery}.Plan(roots, evidence),
		Proxies: rotation.Report(roots, evidence),
	}
	return nil
}

// roots returns the roots of the objects, with the fingerprints that this replica has loaded.
func (d *Driver) roots(objects []v1alpha2.MeshRootCertificate) []rotation.Root {
	loaded, problems := d.cfg.Roots.Loaded()
	known := make(map[string]string, len(loaded))
	for _, l := range loaded {
		known[l.Name] = l.Fingerprint
	}
	roots := make([]rotation.Root, len(objects))
	for i := range objects {
		root := rotation.RootOf(&objects[i])
		if root.Role != rotation.Inactive {
			root.Fingerprint = known[root.Name] // the status may be out of date
		}
		if root.Fingerprint == "" {
			root.Problem = cmp.Or(root.Problem, problems[root.Name])
		}
		roots[i] = root
	}
	return roots
}

// act carries out the plan. It writes the status first, which shows starting replicas that a root was loaded,
// and then the role.
func (d *Driver) act(ctx context.Context, objects []v1alpha2.MeshRootCertificate) error {
	step := d.state.Step
	for i := range objects {
		object := &objects[i]
		if err := d.writeStatus(ctx, object, statusOf(object, d.state.Roots[i], step)); err != nil {
			return err
		}
		if step.Write == nil || step.Write.Root != object.Name {
			continue
		}
		if err := d.write(ctx, object, step.Write); err != nil {
			return err
		}
	}
	return nil
}

// report updates the status while there is no rotation.
func (d *Driver) report(ctx context.Context, objects []v1alpha2.MeshRootCertificate, roots []rotation.Root) error {
	var errs []error
	for i := range objects {
		errs = append(errs, d.writeStatus(ctx, &objects[i], statusOf(&objects[i], roots[i], rotation.Step{Phase: rotation.Idle})))
	}
	return errors.Join(errs...)
}

// logStep logs the step of the rotation when it changes.
func (d *Driver) logStep() {
	step := d.state.Step
	text := string(step.Phase) + step.Goal + step.Blocked
	if step.Write != nil {
		text = step.String()
	}
	if text == d.logged {
		return
	}
	d.logged = text
	level := slog.LevelInfo
	if step.Blocked != "" {
		level = slog.LevelError
	}
	d.cfg.Log.Log(context.Background(), level, "root rotation", "goal", step.Goal, "step", step.String(), "waiting", len(step.Waiting))
}

// wrap adds the object to the error of a failed write.
func wrap(object *v1alpha2.MeshRootCertificate, what string, err error) error {
	return fmt.Errorf("write %s of MeshRootCertificate %s/%s: %w", what, object.Namespace, object.Name, err)
}
