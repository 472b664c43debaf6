package charts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/realapi"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
)

// town is a real API server with what the chart puts into it for accounts, rights, policies and the webhook.
type town struct {
	t      *testing.T
	server *realapi.Server
	admin  *client.Clientset
}

func newTown(t *testing.T) *town {
	server := realapi.Start(t)
	w := &town{t: t, server: server, admin: server.Client(t)}
	ctx := t.Context()
	for _, namespace := range []string{releaseNamespace, "shop"} {
		_, err := w.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		w.must(err)
	}
	all := objects(t, values{})
	for _, o := range every[*corev1.ServiceAccount](all) {
		_, err := w.admin.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*rbacv1.ClusterRole](all) {
		_, err := w.admin.RbacV1().ClusterRoles().Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*rbacv1.ClusterRoleBinding](all) {
		_, err := w.admin.RbacV1().ClusterRoleBindings().Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*rbacv1.Role](all) {
		_, err := w.admin.RbacV1().Roles(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*rbacv1.RoleBinding](all) {
		_, err := w.admin.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*admissionv1.MutatingWebhookConfiguration](all) {
		_, err := w.webhooks(w.admin).Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*admissionv1.ValidatingAdmissionPolicy](all) {
		_, err := w.admin.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, o := range every[*admissionv1.ValidatingAdmissionPolicyBinding](all) {
		_, err := w.admin.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, o, metav1.CreateOptions{})
		w.must(err)
	}
	for _, name := range []string{"osm-ca-bundle", "sh.helm.release.v1.osm.v1", "password"} {
		w.secret(name, releaseNamespace)
		w.secret(name, "shop")
	}
	return w
}

func (w *town) secret(name, namespace string) {
	_, err := w.admin.CoreV1().Secrets(namespace).Create(w.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"private.key": "secret"},
	}, metav1.CreateOptions{})
	w.must(err)
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// thief is a client with a ServiceAccount's token, and nothing else.
func (w *town) thief(account string) *client.Clientset {
	w.t.Helper()
	token, err := w.admin.CoreV1().ServiceAccounts(releaseNamespace).CreateToken(w.t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	config := w.server.Config()
	config.BearerToken = token.Status.Token
	thief, err := client.NewForConfig(config)
	w.must(err)
	return thief
}

func (*town) webhooks(c client.Interface) typedWebhooks {
	return c.AdmissionregistrationV1().MutatingWebhookConfigurations()
}

// typedWebhooks is what a client offers for webhook configurations, as far as the tests use it.
type typedWebhooks interface {
	webhook.Patcher
	Get(context.Context, string, metav1.GetOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	List(context.Context, metav1.ListOptions) (*admissionv1.MutatingWebhookConfigurationList, error)
	Create(context.Context, *admissionv1.MutatingWebhookConfiguration, metav1.CreateOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	Update(context.Context, *admissionv1.MutatingWebhookConfiguration, metav1.UpdateOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// enforced waits until the API server acts on the policies: it compiles them a moment after they were made.
func (w *town) enforced(thief client.Interface) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	dry := []string{metav1.DryRunAll}
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		_, one := w.webhooks(thief).Patch(w.t.Context(), api.WebhookConfigName("osm"), types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{DryRun: dry})
		_, two := thief.CoreV1().Secrets("shop").Patch(w.t.Context(), "password", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: dry})
		if apierrors.IsForbidden(one) && apierrors.IsForbidden(two) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the policies are not enforced: %v, %v", one, two)
		}
	}
}

// attempt is something that must be refused.
type attempt struct {
	what string
	do   func(context.Context) error
}

func (w *town) refused(attempts []attempt) {
	w.t.Helper()
	for _, a := range attempts {
		if err := a.do(w.t.Context()); !apierrors.IsForbidden(err) {
			w.t.Errorf("%s: %v, want it forbidden", a.what, err)
		}
	}
}

// patches are the ways to make of the webhook's configuration what change says, for real and as a dry run.
func (w *town) patches(thief client.Interface, what string, change func(*admissionv1.MutatingWebhookConfiguration)) []attempt {
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
				_, err := w.webhooks(thief).Patch(ctx, name, kind, text, options)
				return err
			}})
		}
		all = append(all, attempt{fmt.Sprintf("%s by update, dry run %v", what, dry), func(ctx context.Context) error {
			now, err := w.webhooks(w.admin).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			wanted.ResourceVersion = now.ResourceVersion // an apply that changes nothing still counts up
			_, err = w.webhooks(thief).Update(ctx, wanted, metav1.UpdateOptions{DryRun: dry})
			return err
		}})
	}
	return all
}

// changes are one for each field that is not caBundle.
func changes() map[string]func(*admissionv1.MutatingWebhookConfiguration) {
	type config = admissionv1.MutatingWebhookConfiguration
	hook := func(change func(*admissionv1.MutatingWebhook)) func(*config) {
		return func(c *config) { change(&c.Webhooks[0]) }
	}
	url, ignore, exact, some, once, seconds := "https://thief.example", admissionv1.Ignore, admissionv1.Exact, admissionv1.SideEffectClassNoneOnDryRun, admissionv1.IfNeededReinvocationPolicy, int32(1)
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
		"name": hook(func(h *admissionv1.MutatingWebhook) { h.Name = "thief.k8s.io" }),
		"a further webhook": func(c *config) {
			more := c.Webhooks[0].DeepCopy()
			more.Name = "thief.k8s.io"
			c.Webhooks = append(c.Webhooks, *more)
		},
		"no webhook":  func(c *config) { c.Webhooks = []admissionv1.MutatingWebhook{} },
		"labels":      func(c *config) { c.Labels["app.kubernetes.io/instance"] = "thief" },
		"annotations": func(c *config) { c.Annotations = map[string]string{"meta.helm.sh/release-name": "thief"} },
		"owner": func(c *config) {
			c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "gone", UID: "11111111-1111-1111-1111-111111111111"}}
		},
		"finalizers": func(c *config) { c.Finalizers = []string{"thief.example/keep"} },
	}
}

// unchanged tries the changes one after the other: each is forbidden, unless the API server finds it
// invalid or, merging by key, makes nothing of it. The configuration stays as it is.
func (w *town) unchanged(thief client.Interface) {
	w.t.Helper()
	ctx, name := w.t.Context(), api.WebhookConfigName("osm")
	before, err := w.webhooks(w.admin).Get(ctx, name, metav1.GetOptions{})
	w.must(err)
	for what, change := range changes() {
		forbidden := 0
		for _, a := range w.patches(thief, what, change) {
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

// TestStolenInjector: with an injector's token nothing can be written, and of Secrets only the webhook's
// own certificate can be read.
func TestStolenInjector(t *testing.T) {
	w := newTown(t)
	thief := w.thief("osm-injector")
	w.enforced(w.thief("osm-controller"))
	dry := []string{metav1.DryRunAll}
	w.unchanged(thief)
	w.refused(w.patches(thief, "caBundle", func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].ClientConfig.CABundle = testBundle(t) }))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	var attempts []attempt
	add := func(what string, do func(context.Context) error) { attempts = append(attempts, attempt{what, do}) }
	add("read the webhook's configuration", func(ctx context.Context) error {
		_, err := w.webhooks(thief).Get(ctx, api.WebhookConfigName("osm"), metav1.GetOptions{})
		return err
	})
	for _, namespace := range []string{releaseNamespace, "shop"} {
		secrets := thief.CoreV1().Secrets(namespace)
		for _, name := range []string{"osm-ca-bundle", "sh.helm.release.v1.osm.v1", "password"} {
			in := " Secret " + namespace + "/" + name
			add("read"+in, func(ctx context.Context) error { _, err := secrets.Get(ctx, name, metav1.GetOptions{}); return err })
			add("list"+in, func(ctx context.Context) error {
				_, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
				return err
			})
			add("patch"+in, func(ctx context.Context) error {
				_, err := secrets.Patch(ctx, name, types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: dry})
				return err
			})
			add("delete"+in, func(ctx context.Context) error { return secrets.Delete(ctx, name, metav1.DeleteOptions{DryRun: dry}) })
		}
		add("list Secrets in "+namespace, func(ctx context.Context) error { _, err := secrets.List(ctx, metav1.ListOptions{}); return err })
		add("create a Secret in "+namespace, func(ctx context.Context) error {
			_, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "osm-ca-bundle-next"}}, metav1.CreateOptions{})
			return err
		})
		add("patch its certificate in "+namespace, func(ctx context.Context) error {
			_, err := secrets.Patch(ctx, servingSecret, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{})
			return err
		})
		add("list pods in "+namespace, func(ctx context.Context) error {
			_, err := thief.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			return err
		})
		add("create a pod in "+namespace, func(ctx context.Context) error {
			_, err := thief.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			return err
		})
		add("create a token in "+namespace, func(ctx context.Context) error {
			_, err := thief.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "osm-controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		})
	}
	add("read its certificate elsewhere", func(ctx context.Context) error {
		_, err := thief.CoreV1().Secrets("shop").Get(ctx, servingSecret, metav1.GetOptions{})
		return err
	})
	w.refused(attempts)
}

// TestStolenController: with a controller's token caBundle of the own webhook can be changed and nothing
// else of any webhook configuration, even by somebody who has every verb on them: the policy is what refuses.
func TestStolenController(t *testing.T) {
	w := newTown(t)
	thief := w.thief("osm-controller")
	w.enforced(thief)
	w.grantEverything("osm-controller")
	w.unchanged(thief)
	for _, a := range w.patches(thief, "caBundle", func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks[0].ClientConfig.CABundle = testBundle(t) }) {
		if err := a.do(t.Context()); err != nil && !apierrors.IsConflict(err) {
			t.Errorf("%s: %v", a.what, err)
		}
	}
	other := must[*admissionv1.MutatingWebhookConfiguration](t, objects(t, values{}), api.WebhookConfigName("osm"))
	other.Name = "another"
	_, err := w.webhooks(w.admin).Create(t.Context(), other, metav1.CreateOptions{})
	w.must(err)
	validating := w.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err = validating.Create(t.Context(), &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfigName("osm")}}, metav1.CreateOptions{})
	w.must(err)
	w.refused([]attempt{
		{"touch another configuration", func(ctx context.Context) error {
			_, err := w.webhooks(thief).Patch(ctx, "another", types.MergePatchType, []byte(`{"webhooks":null}`), metav1.PatchOptions{})
			return err
		}},
		{"create a configuration", func(ctx context.Context) error {
			made := other.DeepCopy()
			made.Name, made.ResourceVersion = "made", ""
			_, err := w.webhooks(thief).Create(ctx, made, metav1.CreateOptions{})
			return err
		}},
		{"delete its configuration", func(ctx context.Context) error {
			return w.webhooks(thief).Delete(ctx, api.WebhookConfigName("osm"), metav1.DeleteOptions{})
		}},
		{"touch a validating configuration of that name", func(ctx context.Context) error {
			_, err := thief.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, api.WebhookConfigName("osm"), types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		}},
	})
}

// grantEverything gives an account all verbs on webhook configurations, so that only the policy is left.
func (w *town) grantEverything(account string) {
	w.t.Helper()
	_, err := w.admin.RbacV1().ClusterRoles().Create(w.t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "everything"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"admissionregistration.k8s.io"}, Verbs: []string{"*"},
			Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}}},
	}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.admin.RbacV1().ClusterRoleBindings().Create(w.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "everything"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "everything"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: releaseNamespace, Name: account}},
	}, metav1.CreateOptions{})
	w.must(err)
}

func testBundle(t *testing.T) []byte {
	t.Helper()
	root, err := ca.NewRoot(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return root.Trust().Bundle
}

// TestRightsSuffice: under the same rights and policies the controller keeps bundle and certificate, also
// across a change of the root and after somebody took them away, and the injector can read and watch them.
func TestRightsSuffice(t *testing.T) {
	w := newTown(t)
	controller, injector := w.thief("osm-controller"), w.thief("osm-injector")
	w.enforced(controller)
	first, second := w.issuer(), w.issuer()
	roots, err := ca.NewRoots(nil, first)
	w.must(err)
	account, err := w.admin.CoreV1().ServiceAccounts(releaseNamespace).Get(t.Context(), "osm-injector", metav1.GetOptions{})
	w.must(err)
	serving, err := ca.NewServingSecret(ca.ServingSecretConfig{
		Client: controller, Authority: roots, Mesh: "osm", TrustDomain: "cluster.local", Name: servingSecret, Label: api.LabelInjectorCertificate,
		Identity: identity.Identity{Namespace: releaseNamespace, ServiceAccount: "osm-injector"}, Host: api.InjectorHost(releaseNamespace),
	})
	w.must(err)
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	w.must(err)
	keeper := webhook.New(webhook.Config{
		Mesh: "osm", Webhooks: w.webhooks(controller), Certificate: serving, Roots: roots, Owner: func() types.UID { return account.UID },
		Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- keeper.Run(ctx, changed) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	watch, err := injector.CoreV1().Secrets(releaseNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + servingSecret})
	w.must(err)
	defer watch.Stop()
	served := w.await(injector, first.Trust())
	if secret, err := w.admin.CoreV1().Secrets(releaseNamespace).Get(ctx, servingSecret, metav1.GetOptions{}); err != nil || len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != account.UID {
		t.Errorf("Secret %+v, %v; want it owned by the injector's ServiceAccount", secret, err)
	}
	if event := <-watch.ResultChan(); event.Object == nil {
		t.Error("the injector hears of no change")
	}
	changed <- struct{}{} // nothing to do
	w.must(roots.Set(first, second))
	changed <- struct{}{}
	both := w.await(injector, roots.Trust())
	w.must(roots.Set(second, first))
	changed <- struct{}{}
	w.await(injector, roots.Trust())
	if both.Trust.Fingerprint != first.Trust().Fingerprint || served.Trust.Fingerprint != first.Trust().Fingerprint {
		t.Error("another CA signed before it was told to")
	}
	w.must(roots.Set(second))
	changed <- struct{}{}
	w.await(injector, second.Trust())
	w.must(w.admin.CoreV1().Secrets(releaseNamespace).Delete(ctx, servingSecret, metav1.DeleteOptions{}))
	_, err = w.webhooks(w.admin).Patch(ctx, api.WebhookConfigName("osm"), types.JSONPatchType, []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{})
	w.must(err)
	changed <- struct{}{} // as the minute would
	w.await(injector, second.Trust())
}

func (w *town) issuer() *ca.Issuer {
	w.t.Helper()
	root, err := ca.NewRoot(time.Now())
	w.must(err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: "cluster.local"})
	w.must(err)
	return issuer
}

// await waits until the injector reads a certificate of the signer, and the API server holds the bundle.
func (w *town) await(injector client.Interface, trust ca.Trust) *ca.Served {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		served, err := w.look(injector, trust)
		if err == nil {
			return served
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}

func (w *town) look(injector client.Interface, trust ca.Trust) (*ca.Served, error) {
	ctx := w.t.Context()
	secrets, err := injector.CoreV1().Secrets(releaseNamespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + servingSecret})
	if err != nil {
		return nil, err
	}
	if len(secrets.Items) != 1 {
		return nil, fmt.Errorf("%d Secrets %s, want one", len(secrets.Items), servingSecret)
	}
	served, err := ca.ParseServed(secrets.Items[0].Data, api.InjectorHost(releaseNamespace), time.Now())
	if err != nil {
		return nil, err
	}
	config, err := w.webhooks(w.admin).Get(ctx, api.WebhookConfigName("osm"), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if held := string(config.Webhooks[0].ClientConfig.CABundle); held != string(trust.Bundle) || string(served.Trust.Bundle) != held || served.Trust.Fingerprint != trust.Fingerprint {
		return nil, fmt.Errorf("the API server trusts %d bytes, the certificate is of %.8s", len(held), served.Trust.Fingerprint)
	}
	return served, nil
}
