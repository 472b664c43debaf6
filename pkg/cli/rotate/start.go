package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// replicaTime limits how long all replicas together may take to respond.
const replicaTime = 5 * time.Second

// rotationPlan is a rotation that has been checked and not yet started: nothing is written.
type rotationPlan struct {
	present *cluster.RootCertificate  // the root that signs
	adopt   bool                      // the mesh has no object for the present root yet
	retired []cluster.RootCertificate // inactive ones whose Secret is needed
	target  *cluster.RootCertificate
	create  bool // the target is new
	former  []cluster.RootCertificate
	at      time.Time // of the request
	reused  bool      // the new root's Secret holds a CA already
}

func (r *rotator) begin(ctx context.Context) error {
	plan, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.announce(plan)
	if err := r.confirm(fmt.Sprintf("Replace the root of mesh [%s]?", r.mesh.Name)); err != nil {
		return err
	}
	if err := r.carryOut(ctx, plan); err != nil {
		return err
	}
	return r.wait(ctx, plan.target.Name, plan.former)
}

// plan checks everything that could prevent the rotation. It writes nothing.
func (r *rotator) plan(ctx context.Context) (*rotationPlan, error) {
	if err := r.readRelease(); err != nil {
		return nil, err
	}
	roots, err := r.clients.Roots(ctx, r.mesh.Namespace)
	if err != nil {
		return nil, err
	}
	if goal, asked := rotation.Goal(rootsOf(roots)); asked {
		phase := rotation.Plan(rootsOf(roots), rotation.Evidence{}).Phase
		return nil, fmt.Errorf("a rotation to root %s is already in progress (%s); show it with %s, or abort it with %s", goal.Name, phase, r.statusHint(), r.abortHint())
	}
	if err := r.checkReplicas(ctx); err != nil {
		return nil, err
	}
	if _, _, err := r.look(ctx); err != nil {
		return nil, err
	}
	plan := &rotationPlan{}
	if err := r.addPresent(plan, roots); err != nil {
		return nil, err
	}
	if err := r.addTarget(ctx, plan, roots); err != nil {
		return nil, err
	}
	plan.at = later(r.env.Now(), roots)
	return plan, r.checkProvider(ctx, plan)
}

// readRelease reads the mesh's Helm release, if there is one.
func (r *rotator) readRelease() error {
	engine, err := r.env.Engine(r.mesh.Namespace)
	if err != nil {
		return err
	}
	if r.info, err = command.ExistingRelease(engine, r.mesh.Name); err != nil || r.info == nil {
		return err
	}
	if r.info.Pending {
		return fmt.Errorf("mesh [%s] is %s: another osm or helm process is at work; wait for it, or if it was killed run %s first", r.mesh.Name, r.info.Status, r.command("upgrade --recover"))
	}
	r.values, err = r.info.Chart.Effective(r.info.Values)
	return err
}

// look queries the leader. The error for a leader that is too old says so.
func (r *rotator) look(ctx context.Context) (rotation.State, string, error) {
	page, pod, err := r.leader.look(ctx)
	if errors.Is(err, errNoPage) {
		err = fmt.Errorf("%w; the control plane is older than this osm, upgrade it first: %s", err, r.command("upgrade"))
	}
	return page, pod, err
}

// checkReplicas returns an error unless every replica of the control plane responds: a rotation waits
// for each of them.
func (r *rotator) checkReplicas(ctx context.Context) error {
	var pods []corev1.Pod
	for _, app := range []string{api.AppController, api.AppInjector} {
		found, err := cluster.ControlPlanePods(ctx, r.clients.Kube, r.mesh.Namespace, app)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(p corev1.Pod) bool {
			return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		})
		if app == api.AppController && len(found) == 0 {
			return fmt.Errorf("mesh [%s] has no pod of %s, so nothing would carry out the rotation; run kubectl get pods -n %s to see why", r.mesh.Name, app, r.mesh.Namespace)
		}
		pods = append(pods, found...)
	}
	var unready []string
	for i := range pods {
		if !cluster.Ready(&pods[i]) {
			unready = append(unready, pods[i].Name)
		}
	}
	if len(unready) > 0 {
		return fmt.Errorf("not ready: %s; a rotation waits for every replica, so fix that first (kubectl get pods -n %s)", strings.Join(unready, ", "), r.mesh.Namespace)
	}
	for _, replica := range cluster.AskReplicas(ctx, r.clients.Reach, pods, replicaTime, r.env.Now()) {
		if replica.Err != nil {
			return fmt.Errorf("%w; a rotation waits for every replica, so fix that first", replica.Err)
		}
	}
	return nil
}

// announce prints what the rotation will do.
func (r *rotator) announce(plan *rotationPlan) {
	say := r.env.Progressf
	say("mesh [%s] in namespace [%s]: replacing root %s (%s) with %s (%s)\n", r.mesh.Name, r.mesh.Namespace,
		plan.present.Name, provider.Of(plan.present.Spec.Provider).Location(plan.present.Spec.Provider), plan.target.Name, provider.Of(plan.target.Spec.Provider).Location(plan.target.Spec.Provider))
	if plan.adopt {
		say("- create MeshRootCertificate %s for the current root, as installed\n", plan.present.Name)
	}
	for i := range plan.retired {
		say("- delete MeshRootCertificate %s, which is no longer used, and Secret %s with its key, to make room\n", plan.retired[i].Name, provider.RootSecret(plan.retired[i].Spec.Provider))
	}
	if plan.create {
		say("- create MeshRootCertificate %s for the new root\n", plan.target.Name)
	}
	if plan.reused {
		say("- use the CA in the existing Secret %s as the new root\n", provider.RootSecret(plan.target.Spec.Provider))
	}
	say("- renew every certificate without losing a request; until the old root is dropped, %s goes back to it\n", r.abortHint())
}

// carryOut writes the plan. The order matters: a mesh that has objects but none for the current root
// would have no root, and a key without its object could be mistaken for a new one.
func (r *rotator) carryOut(ctx context.Context, plan *rotationPlan) error {
	if plan.adopt {
		if err := r.createRoot(ctx, plan.present); err != nil {
			return conflict(err)
		}
	}
	for i := range plan.retired {
		if err := r.retire(ctx, &plan.retired[i]); err != nil {
			return conflict(err)
		}
	}
	if !plan.create {
		return conflict(r.requestRoot(ctx, plan.target, plan.at))
	}
	plan.target.Annotations = requested(plan.at)
	return conflict(r.createRoot(ctx, plan.target))
}

// conflict explains that someone else changed the object at the same time.
func conflict(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return fmt.Errorf("%w: it was changed in the meantime; check the current state and run the command again", err)
	}
	return err
}

// retire deletes an unused root, its key first.
func (r *rotator) retire(ctx context.Context, root *cluster.RootCertificate) error {
	name := provider.RootSecret(root.Spec.Provider)
	err := r.clients.Kube.CoreV1().Secrets(r.mesh.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Secret %s/%s of MeshRootCertificate %s: %w", r.mesh.Namespace, name, root.Name, err)
	}
	if err := r.deleteRoot(ctx, root); err != nil {
		return err
	}
	r.env.Progressf("deleted MeshRootCertificate %s and Secret %s\n", root.Name, name)
	return nil
}

// later returns now, or the time just after the latest request if that is in the future.
func later(now time.Time, roots []cluster.RootCertificate) time.Time {
	for _, root := range rootsOf(roots) {
		if !now.After(root.WantedAt) {
			now = root.WantedAt.Add(time.Second)
		}
	}
	return now.UTC()
}
