package charts_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// attempt is a request that must be refused.
type attempt struct {
	what string
	do   func(context.Context) error
}

func (w *chartCluster) refused(attempts []attempt) {
	w.t.Helper()
	for _, a := range attempts {
		if err := a.do(w.t.Context()); !apierrors.IsForbidden(err) {
			w.t.Errorf("%s: %v, want it forbidden", a.what, err)
		}
	}
}

// patches returns all ways to apply change to the webhook's configuration, for real and as a dry run.
func (w *chartCluster) patches(attacker client.Interface, what string, change func(*admissionv1.MutatingWebhookConfiguration)) []attempt {
	w.t.Helper()
	name := api.WebhookConfigName("osm")
	wanted, err := w.webhooks(w.admin).Get(w.t.Context(), name, metav1.GetOptions{})
	w.must(err)
	wanted.ManagedFields = nil
	change(wanted)
	metadata := map[string]any{"labels": wanted.Labels, "annotations": wanted.Annotations, "ownerReferences": wanted.OwnerReferences, "finalizers": wanted.Finalizers}
	merge := map[string]any{"metadata": metadata, "webhooks": wanted.Webhooks}
	list := []map[string]any{{"op": "replace", "path": "/webhooks", "value": wanted.Webhooks}}
	for key, value := range metadata {
		if text, _ := json.Marshal(value); string(text) != "null" {
			list = append(list, map[string]any{"op": "add", "path": "/metadata/" + key, "value": value})
		}
	}
	apply := map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "webhooks": wanted.Webhooks,
		"metadata": map[string]any{"name": name, "labels": wanted.Labels, "annotations": wanted.Annotations, "ownerReferences": wanted.OwnerReferences, "finalizers": wanted.Finalizers}}
	var all []attempt
	force := true
	for _, dry := range [][]string{nil, {metav1.DryRunAll}} {
		for kind, body := range map[types.PatchType]any{types.MergePatchType: merge, types.StrategicMergePatchType: merge, types.JSONPatchType: list, types.ApplyPatchType: apply} {
			text, err := json.Marshal(body)
			w.must(err)
			options := metav1.PatchOptions{DryRun: dry}
			if kind == types.ApplyPatchType {
				options.FieldManager, options.Force = "osm-controller", &force
			}
			all = append(all, attempt{fmt.Sprintf("%s by %s, dry run %v", what, kind, dry), func(ctx context.Context) error {
				_, err := w.webhooks(attacker).Patch(ctx, name, kind, text, options)
				return err
			}})
		}
		all = append(all, attempt{fmt.Sprintf("%s by update, dry run %v", what, dry), func(ctx context.Context) error {
			now, err := w.webhooks(w.admin).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			wanted.ResourceVersion = now.ResourceVersion // an apply that changes nothing still counts up
			_, err = w.webhooks(attacker).Update(ctx, wanted, metav1.UpdateOptions{DryRun: dry})
			return err
		}})
	}
	return all
}

// changes returns one change for each field except caBundle.
func changes() map[string]func(*admissionv1.MutatingWebhookConfiguration) {
	type config = admissionv1.MutatingWebhookConfiguration
	hook := func(change func(*admissionv1.MutatingWebhook)) func(*config) {
		return func(c *config) { change(&c.Webhooks[0]) }
	}
	url, ignore, exact, some, once, seconds := "https://attacker.example", admissionv1.Ignore, admissionv1.Exact, admissionv1.SideEffectClassNoneOnDryRun, admissionv1.NeverReinvocationPolicy, int32(1)
	all := &metav1.LabelSelector{}
	return map[string]func(*config){
		"rules": hook(func(h *admissionv1.MutatingWebhook) {
			h.Rules = append(h.Rules, admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}}})
		}),
		"url":               hook(func(h *admissionv1.MutatingWebhook) { h.ClientConfig.URL, h.ClientConfig.Service = &url, nil }),
		"service":           hook(func(h *admissionv1.MutatingWebhook) { h.ClientConfig.Service.Namespace = "shop" }),
		"service's path":    hook(func(h *admissionv1.MutatingWebhook) { h.ClientConfig.Service.Path = nil }),
		"failurePolicy":     hook(func(h *admissionv1.MutatingWebhook) { h.FailurePolicy = &ignore }),
		"matchPolicy":       hook(func(h *admissionv1.MutatingWebhook) { h.MatchPolicy = &exact }),
		"namespaceSelector": hook(func(h *admissionv1.MutatingWebhook) { h.NamespaceSelector = all }),
		"objectSelector":    hook(func(h *admissionv1.MutatingWebhook) { h.ObjectSelector = all }),
		"sideEffects":       hook(func(h *admissionv1.MutatingWebhook) { h.SideEffects = &some }),
		"timeoutSeconds":    hook(func(h *admissionv1.MutatingWebhook) { h.TimeoutSeconds = &seconds }),
		"reviewVersions":    hook(func(h *admissionv1.MutatingWebhook) { h.AdmissionReviewVersions = []string{"v1", "v1beta1"} }),
		"reinvocation":      hook(func(h *admissionv1.MutatingWebhook) { h.ReinvocationPolicy = &once }),
		"matchConditions": hook(func(h *admissionv1.MutatingWebhook) {
			h.MatchConditions = []admissionv1.MatchCondition{{Name: "never", Expression: "false"}}
		}),
		"name": hook(func(h *admissionv1.MutatingWebhook) { h.Name = "attacker.k8s.io" }),
		"a further webhook": func(c *config) {
			more := c.Webhooks[0].DeepCopy()
			more.Name = "attacker.k8s.io"
			c.Webhooks = append(c.Webhooks, *more)
		},
		"no webhook":  func(c *config) { c.Webhooks = []admissionv1.MutatingWebhook{} },
		"labels":      func(c *config) { c.Labels["app.kubernetes.io/instance"] = "attacker" },
		"annotations": func(c *config) { c.Annotations = map[string]string{"meta.helm.sh/release-name": "attacker"} },
		"owner": func(c *config) {
			c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "gone", UID: "11111111-1111-1111-1111-111111111111"}}
		},
		"finalizers": func(c *config) { c.Finalizers = []string{"attacker.example/keep"} },
	}
}

// unchanged tries every change in every way. Each must be forbidden, invalid, or merged into no change, and the
// configuration must stay as it is.
func (w *chartCluster) unchanged(attacker client.Interface) {
	w.t.Helper()
	ctx, name := w.t.Context(), api.WebhookConfigName("osm")
	before, err := w.webhooks(w.admin).Get(ctx, name, metav1.GetOptions{})
	w.must(err)
	for what, change := range changes() {
		forbidden := 0
		for _, a := range w.patches(attacker, what, change) {
			switch err := a.do(ctx); {
			case apierrors.IsForbidden(err):
				forbidden++
			case err != nil && !apierrors.IsInvalid(err):
				w.t.Errorf("%s: %v", a.what, err)
			}
			after, err := w.webhooks(w.admin).Get(ctx, name, metav1.GetOptions{})
			w.must(err)
			before.ManagedFields, after.ManagedFields, after.ResourceVersion = nil, nil, before.ResourceVersion
			if diff := cmp.Diff(before, after); diff != "" {
				w.t.Fatalf("%s changed the configuration:\n%s", a.what, diff)
			}
		}
		if forbidden < 6 { // two of five verbs may merge, each with and without dry run
			w.t.Errorf("%s: only %d of 10 attempts were forbidden", what, forbidden)
		}
	}
}
