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
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// replicaTime is how long all replicas together may take to show that they are there.
const replicaTime = 5 * time.Second

// rotationPlan is a rotation that is about to begin: everything was looked at, nothing is written.
type rotationPlan struct {
	present *cluster.RootCertificate  // of the root that signs
	adopt   bool                      // the mesh has no object for the present root yet
	retired []cluster.RootCertificate // inactive ones whose Secret is needed
	target  *cluster.RootCertificate
	make    bool // the target is new
	former  []cluster.RootCertificate
	at      time.Time // the target is asked for
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

// plan looks at everything that could be in the way. It writes nothing.
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
		return nil, fmt.Errorf("a rotation to root %s is under way (%s); look at it with %s, turn it round with %s", goal.Name, phase, r.lookHint(), r.abortHint())
	}
	if err := r.replicasAnswer(ctx); err != nil {
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

// readRelease reads what the mesh was installed with, if that was with Helm.
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

// look asks the leading controller, with a hint for one that is too old.
func (r *rotator) look(ctx context.Context) (rotation.State, string, error) {
	page, pod, err := r.leader.look(ctx)
	if errors.Is(err, errNoPage) {
		err = fmt.Errorf("%w; the control plane is older than this osm, upgrade it first: %s", err, r.command("upgrade"))
	}
	return page, pod, err
}

// replicasAnswer makes sure that every replica of the control plane is there: a rotation waits for
// each of them.
func (r *rotator) replicasAnswer(ctx context.Context) error {
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
			return fmt.Errorf("mesh [%s] has no pod of %s: nobody would rotate; look why with kubectl get pods -n %s", r.mesh.Name, app, r.mesh.Namespace)
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

// announce says what is about to happen.
func (r *rotator) announce(plan *rotationPlan) {
	say := r.env.Progressf
	say("mesh [%s] in namespace [%s]: root %s (%s) is replaced by %s (%s)\n", r.mesh.Name, r.mesh.Namespace,
		plan.present.Name, rootLocation(plan.present.Spec.Provider), plan.target.Name, rootLocation(plan.target.Spec.Provider))
	if plan.adopt {
		say("- MeshRootCertificate %s is made for the present root, as it was installed\n", plan.present.Name)
	}
	for i := range plan.retired {
		say("- MeshRootCertificate %s, which is not used any more, and Secret %s with its key are deleted to make room\n", plan.retired[i].Name, secretOf(plan.retired[i].Spec.Provider))
	}
	if plan.make {
		say("- MeshRootCertificate %s is made for the new root\n", plan.target.Name)
	}
	if plan.reused {
		say("- Secret %s exists: the CA that it holds becomes the new root\n", secretOf(plan.target.Spec.Provider))
	}
	say("- every certificate is renewed; no request is lost, and until the old root is dropped %s leads back\n", r.abortHint())
}

// carryOut writes. What is needed first comes first: a mesh with any object but none for the present
// root would have no root, and a key without its object could be taken for a fresh one.
func (r *rotator) carryOut(ctx context.Context, plan *rotationPlan) error {
	if plan.adopt {
		if err := r.createRoot(ctx, plan.present); err != nil {
			return meanwhile(err)
		}
	}
	for i := range plan.retired {
		if err := r.retire(ctx, &plan.retired[i]); err != nil {
			return meanwhile(err)
		}
	}
	if !plan.make {
		return meanwhile(r.requestRoot(ctx, plan.target, plan.at))
	}
	plan.target.Annotations = requested(plan.at)
	return meanwhile(r.createRoot(ctx, plan.target))
}

// meanwhile explains that somebody else was at work at the same time.
func meanwhile(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return fmt.Errorf("%w: somebody else changed it meanwhile; look at what is there and run the command again", err)
	}
	return err
}

// retire deletes a root that is not used, the key first.
func (r *rotator) retire(ctx context.Context, root *cluster.RootCertificate) error {
	name := secretOf(root.Spec.Provider)
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

// later is now, or just after the last time that somebody asked for a root.
func later(now time.Time, roots []cluster.RootCertificate) time.Time {
	for _, root := range rootsOf(roots) {
		if !now.After(root.WantedAt) {
			now = root.WantedAt.Add(time.Second)
		}
	}
	return now.UTC()
}
