// Package stage deploys the demo's objects on a cluster and removes them.
//
// It handles objects and rollouts, not what the demo shows, and it never changes the mesh. Its
// invariant: repeating an operation changes nothing and succeeds.
package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// fieldManager owns the fields that the demo applies.
const fieldManager = "osm-demo"

const pollInterval = time.Second

// Stage is a cluster to put objects on.
type Stage struct {
	Dynamic dynamic.Interface
	Mapper  meta.RESTMapper
	Kube    kubernetes.Interface
	// Progress receives a sentence on every change.
	Progress func(string)
}

// Apply applies the objects one after the other by server-side apply. An object may be of
// a kind that an earlier one defines.
func (s *Stage) Apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	defined := map[string]bool{} // API groups
	for _, o := range objects {
		if o.GetKind() == "CustomResourceDefinition" {
			group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
			defined[group] = true
		}
		resource, err := s.resource(o)
		if defined[o.GroupVersionKind().Group] && meta.IsNoMatchError(err) {
			resource, err = s.newResource(ctx, o)
		}
		if err == nil {
			_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", describe(o), err)
		}
		s.Progress("applied " + describe(o))
	}
	return nil
}

func (s *Stage) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := s.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.Dynamic.Resource(mapping.Resource), nil
	}
	return s.Dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}

// definitionTime is how long the API server may take to serve a newly defined kind.
const definitionTime = time.Minute

// newResource waits for a newly defined kind.
func (s *Stage) newResource(ctx context.Context, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	var resource dynamic.ResourceInterface
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, definitionTime, true, func(context.Context) (bool, error) {
		meta.MaybeResetRESTMapper(s.Mapper)
		resource, last = s.resource(o)
		if meta.IsNoMatchError(last) {
			return false, nil
		}
		return true, last
	})
	if err != nil {
		return nil, errors.Join(err, last)
	}
	return resource, nil
}

func describe(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// WaitRolledOut waits until every Deployment among the objects runs its latest pods, and none
// older. It gives up after timeout, and says what the pods are waiting for.
func (s *Stage) WaitRolledOut(ctx context.Context, objects []*unstructured.Unstructured, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		if err := s.waitDeployment(ctx, o.GetNamespace(), o.GetName()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) waitDeployment(ctx context.Context, namespace, name string) error {
	var last string
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		status := "not readable yet"
		d, err := s.Kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			status = pending(d)
		} else if !apierrors.IsNotFound(err) {
			status = err.Error() // an unavailable API server comes back, or the timeout ends this
		}
		if status == "" {
			s.Progress(fmt.Sprintf("Deployment %s/%s is rolled out", namespace, name))
			return true, nil
		}
		if status != last {
			s.Progress(fmt.Sprintf("Deployment %s/%s: %s", namespace, name, status))
			last = status
		}
		return false, nil
	})
	if err != nil {
		why := s.podsWaitFor(context.WithoutCancel(ctx), namespace)
		return fmt.Errorf("wait for Deployment %s/%s (%s): %w%s", namespace, name, last, err, why)
	}
	return nil
}

// WaitReady waits until the object's condition Ready is true.
func (s *Stage) WaitReady(ctx context.Context, o *unstructured.Unstructured, timeout time.Duration) error {
	resource, err := s.resource(o)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", describe(o), err)
	}
	last := "it has no condition Ready"
	err = wait.PollUntilContextTimeout(ctx, pollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		now, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			last = err.Error() // as with Deployments: it comes, or the timeout ends this
			return false, nil
		}
		conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Ready" {
				last = fmt.Sprint(c["message"])
				return c["status"] == "True", nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s (%s): %w", describe(o), last, err)
	}
	s.Progress(describe(o) + " is ready")
	return nil
}

// pending returns why a Deployment is not rolled out yet, "" if it is.
func pending(d *appsv1.Deployment) string {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	st := d.Status
	switch {
	case st.ObservedGeneration < d.Generation:
		return "the Deployment controller has not seen it yet"
	case st.UpdatedReplicas < want:
		return fmt.Sprintf("%d of %d new pods created", st.UpdatedReplicas, want)
	case st.Replicas > st.UpdatedReplicas:
		return fmt.Sprintf("%d old pods left", st.Replicas-st.UpdatedReplicas)
	case st.AvailableReplicas < want:
		return fmt.Sprintf("%d of %d pods available", st.AvailableReplicas, want)
	}
	return ""
}

const diagnosisTimeout = 5 * time.Second

// podsWaitFor lists, for an error message, what the containers in a namespace are waiting for.
func (s *Stage) podsWaitFor(ctx context.Context, namespace string) string {
	ctx, cancel := context.WithTimeout(ctx, diagnosisTimeout)
	defer cancel()
	pods, err := s.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	var text string
	for i := range pods.Items {
		pod := &pods.Items[i]
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				text += fmt.Sprintf("\n  pod %s: %s: %s", pod.Name, c.Reason, c.Message)
			}
		}
		for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if w := c.State.Waiting; w != nil && w.Reason != "PodInitializing" {
				text += fmt.Sprintf("\n  pod %s, container %s: %s: %s", pod.Name, c.Name, w.Reason, w.Message)
			}
		}
	}
	return text
}

// Remove deletes the objects, last first, and waits until they are deleted or the timeout is over.
// Missing objects count as removed.
func (s *Stage) Remove(ctx context.Context, objects []*unstructured.Unstructured, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i := len(objects) - 1; i >= 0; i-- {
		if err := s.remove(ctx, objects[i]); err != nil {
			return err
		}
	}
	for _, o := range objects {
		if err := s.waitGone(ctx, o); err != nil {
			return err
		}
		s.Progress("removed " + describe(o))
	}
	return nil
}

func (s *Stage) remove(ctx context.Context, o *unstructured.Unstructured) error {
	policy := metav1.DeletePropagationForeground
	resource, err := s.resource(o)
	if err == nil {
		err = resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("delete %s: %w", describe(o), err)
	}
	return nil
}

// isGone is also true if the kind no longer exists.
func isGone(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

func (s *Stage) waitGone(ctx context.Context, o *unstructured.Unstructured) error {
	resource, err := s.resource(o)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", describe(o), err)
	}
	last := errors.New("still there")
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		_, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			last = err
		}
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the end of %s (%w): %w", describe(o), last, err)
	}
	return nil
}
