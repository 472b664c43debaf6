package rotate

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
	"github.com/osm-edge/osm/pkg/controlplane/ca/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
)

// How often the driver looks, while there is a rotation and while there is none.
const (
	lookBusy = 2 * time.Second
	lookIdle = 5 * time.Second
)

// fresh is how old a state may be that people are shown.
const fresh = 2 * time.Second

// Config is what a Driver needs. All fields but Every are required.
type Config struct {
	Dynamic   dynamic.Interface
	Namespace string
	// Roots are those of this replica: what it cannot load, nobody is asked to sign with.
	Roots Provider
	// Collect collects evidence after the roots were read.
	Collect func(context.Context) (rotation.Evidence, error)
	// Delivery is how long a Secret may take to reach a running pod.
	Delivery time.Duration
	// Every is the pause between two looks during a rotation; zero means 2 s.
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// State is what people are shown of a rotation.
type State struct {
	// Leads says whether this replica drives. One that does not knows nothing of what follows.
	Leads bool            `json:"leads"`
	At    time.Time       `json:"at,omitzero"`
	Roots []rotation.Root `json:"roots,omitempty"`
	Step  rotation.Step   `json:"step,omitzero"`
	Lines []rotation.Line `json:"proxies,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Driver drives rotations on one replica, for as long as that one holds the Lease.
type Driver struct {
	cfg Config

	looking sync.Mutex // one look at a time
	leads   bool       // guarded by looking, as the rest
	state   State
	told    string    // what the log was told last
	worded  time.Time // when a message alone was written last
}

// NewDriver returns a Driver that does nothing until Run.
func NewDriver(cfg Config) *Driver { return &Driver{cfg: cfg} }

// Run drives until ctx ends, and returns its cause. Call it while this replica holds the Lease.
func (d *Driver) Run(ctx context.Context) error {
	d.lead(true)
	defer d.lead(false)
	for {
		asked, err := d.turn(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("the rotation of the root does not get on at the moment, will retry", "error", err)
		}
		pause := lookIdle
		if asked {
			pause = cmp.Or(d.cfg.Every, lookBusy)
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

func (d *Driver) lead(leads bool) {
	d.looking.Lock()
	defer d.looking.Unlock()
	d.leads, d.state, d.told = leads, State{}, ""
}

// Debug shows the state of now, or of a moment ago.
func (d *Driver) Debug(ctx context.Context) State {
	d.looking.Lock()
	defer d.looking.Unlock()
	if !d.leads {
		return State{}
	}
	if d.cfg.Now().Sub(d.state.At) > fresh {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		objects, err := provider.MeshRoots(ctx, d.cfg.Dynamic, d.cfg.Namespace)
		if err == nil {
			err = d.look(ctx, objects)
		}
		if err != nil {
			d.state.Leads, d.state.Error = true, err.Error()
		}
	}
	return d.state
}

// turn goes one step, if a rotation is asked for.
func (d *Driver) turn(ctx context.Context) (asked bool, err error) {
	d.looking.Lock()
	defer d.looking.Unlock()
	objects, err := provider.MeshRoots(ctx, d.cfg.Dynamic, d.cfg.Namespace)
	if err != nil {
		return false, err
	}
	roots := d.roots(objects)
	if _, asked = rotation.Goal(roots); !asked {
		return false, d.report(ctx, objects, roots)
	}
	if err := d.look(ctx, objects); err != nil {
		return true, err
	}
	d.tell()
	return true, d.act(ctx, objects)
}

// look collects evidence and plans on the objects, which were read before.
func (d *Driver) look(ctx context.Context, objects []v1alpha2.MeshRootCertificate) error {
	roots := d.roots(objects)
	evidence, err := d.cfg.Collect(ctx)
	if err != nil {
		return err
	}
	d.state = State{
		Leads: true, At: d.cfg.Now(), Roots: roots,
		Step:  rotation.Planner{Delivery: d.cfg.Delivery}.Plan(roots, evidence),
		Lines: rotation.Report(roots, evidence),
	}
	return nil
}

// roots are the objects' roots, as this replica holds them.
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
			root.Fingerprint = known[root.Name] // what some replica once reported is no reason to go on
		}
		if root.Fingerprint == "" {
			root.Problem = cmp.Or(root.Problem, problems[root.Name])
		}
		roots[i] = root
	}
	return roots
}

// act writes what the plan says: the status first, which makes a root that is loaded known to
// replicas that start, then the role.
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

// report keeps the status up to date while there is no rotation.
func (d *Driver) report(ctx context.Context, objects []v1alpha2.MeshRootCertificate, roots []rotation.Root) error {
	var errs []error
	for i := range objects {
		errs = append(errs, d.writeStatus(ctx, &objects[i], statusOf(&objects[i], roots[i], rotation.Step{Phase: rotation.Idle})))
	}
	return errors.Join(errs...)
}

// tell logs how far the rotation is, when that changes.
func (d *Driver) tell() {
	step := d.state.Step
	text := string(step.Phase) + step.Goal + step.Blocked
	if step.Write != nil {
		text = step.String()
	}
	if text == d.told {
		return
	}
	d.told = text
	level := slog.LevelInfo
	if step.Blocked != "" {
		level = slog.LevelError
	}
	d.cfg.Log.Log(context.Background(), level, "rotation of the root", "goal", step.Goal, "step", step.String(), "waiting", len(step.Waiting))
}

// wrap names the object of a failed write.
func wrap(object *v1alpha2.MeshRootCertificate, what string, err error) error {
	return fmt.Errorf("write %s of MeshRootCertificate %s/%s: %w", what, object.Namespace, object.Name, err)
}
