package driver

import (
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// conditionProgressing is the condition on the root that a rotation leads to.
const conditionProgressing = "Progressing"

// refreshMessage is the minimum pause between two writes that change only a message.
const refreshMessage = 15 * time.Second

// statusOf returns the new status of an object.
func statusOf(object *v1alpha2.MeshRootCertificate, root rotation.Root, step rotation.Step) v1alpha2.MeshRootCertificateStatus {
	status := *object.Status.DeepCopy()
	status.State = string(root.Role)
	status.Fingerprint = cmp.Or(root.Fingerprint, status.Fingerprint)
	switch {
	case root.Problem != "" && root.Role != rotation.Inactive:
		status.State = "error"
	case root.Name == step.Goal && step.Phase != rotation.Done:
		status.State = string(step.Phase)
	}
	switch {
	case root.Name == step.Goal:
		meta.SetStatusCondition(&status.Conditions, condition(object, step))
	case meta.IsStatusConditionTrue(status.Conditions, conditionProgressing): // the rotation was turned around
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: conditionProgressing, Status: metav1.ConditionFalse, Reason: "Ended", ObservedGeneration: object.Generation,
			Message: "no rotation leads to this root anymore",
		})
	}
	return status
}

func condition(object *v1alpha2.MeshRootCertificate, step rotation.Step) metav1.Condition {
	c := metav1.Condition{Type: conditionProgressing, Status: metav1.ConditionTrue, ObservedGeneration: object.Generation, Message: step.String()}
	switch {
	case step.Blocked != "":
		c.Status, c.Reason = metav1.ConditionFalse, "Blocked"
	case step.Phase == rotation.Done:
		c.Status, c.Reason = metav1.ConditionFalse, "Done"
	case step.Write != nil:
		c.Reason = "Writing"
	default:
		c.Reason = "Waiting"
	}
	const maxMessage = 4096 // there can be many pods
	c.Message = c.Message[:min(len(c.Message), maxMessage)]
	return c
}

// writeStatus writes a status that differs from the object's, and updates the object. If nothing happens
// in a mesh, nothing is written.
func (d *Driver) writeStatus(ctx context.Context, object *v1alpha2.MeshRootCertificate, status v1alpha2.MeshRootCertificateStatus) error {
	if !d.differs(&object.Status, &status) {
		return nil
	}
	return d.patch(ctx, object, "the status", map[string]any{"status": status}, "status")
}

// differs reports whether the new status is worth a write. A change of only the message is written once
// per refreshMessage.
func (d *Driver) differs(before, after *v1alpha2.MeshRootCertificateStatus) bool {
	if reflect.DeepEqual(before, after) {
		return false
	}
	if before.State != after.State || before.Fingerprint != after.Fingerprint || len(before.Conditions) != len(after.Conditions) {
		return true
	}
	was, is := meta.FindStatusCondition(before.Conditions, conditionProgressing), meta.FindStatusCondition(after.Conditions, conditionProgressing)
	if was == nil || is == nil || was.Reason != is.Reason || was.Status != is.Status {
		return true
	}
	if d.cfg.Now().Sub(d.reworded) < refreshMessage {
		return false
	}
	d.reworded = d.cfg.Now()
	return true
}

// write changes a role, or clears the request when the rotation is over.
func (d *Driver) write(ctx context.Context, object *v1alpha2.MeshRootCertificate, w *rotation.Write) error {
	patch := map[string]any{"spec": map[string]any{"role": string(w.To)}}
	if w.ClearWanted {
		patch = map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha2.AnnotationRotateTo: nil}}}
	}
	if err := d.patch(ctx, object, "the role", patch); err != nil {
		return err
	}
	d.cfg.Log.Info("root rotation: role written", "root", w.Root, "from", w.From, "to", w.To, "over", w.ClearWanted, "why", w.Why)
	return nil
}

// patch writes into the object as it was read. If the object has changed since, it is a conflict.
func (d *Driver) patch(ctx context.Context, object *v1alpha2.MeshRootCertificate, what string, patch map[string]any, subresources ...string) error {
	metadata, _ := patch["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		patch["metadata"] = metadata
	}
	metadata["resourceVersion"] = object.ResourceVersion
	data, err := json.Marshal(patch)
	if err != nil {
		return wrap(object, what, err)
	}
	written, err := d.cfg.Dynamic.Resource(v1alpha2.RootCertificateGroupVersionResource()).Namespace(d.cfg.Namespace).
		Patch(ctx, object.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager}, subresources...)
	if err != nil {
		return wrap(object, what, err)
	}
	object.ResourceVersion = written.GetResourceVersion()
	return nil
}

// fieldManager is the field manager of the writes.
const fieldManager = "osm-controller"
