package charts_test

import (
	"context"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/catest"
)

// TestStolenInjector: an injector's token cannot write anything, and the only Secret that it can read is the
// webhook's certificate.
func TestStolenInjector(t *testing.T) {
	w := newChartCluster(t)
	attacker := w.attacker("osm-injector")
	w.enforced(w.attacker("osm-controller"))
	dry := []string{metav1.DryRunAll}
	w.unchanged(attacker)
	w.refused(w.patches(attacker, "caBundle", func(c *admissionv1.MutatingWebhookConfiguration) {
		c.Webhooks[0].ClientConfig.CABundle = catest.New(t).Trust().Bundle
	}))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	var attempts []attempt
	add := func(what string, do func(context.Context) error) { attempts = append(attempts, attempt{what, do}) }
	add("read the webhook's configuration", func(ctx context.Context) error {
		_, err := w.webhooks(attacker).Get(ctx, api.WebhookConfigName("osm"), metav1.GetOptions{})
		return err
	})
	for _, namespace := range []string{releaseNamespace, "shop"} {
		secrets := attacker.CoreV1().Secrets(namespace)
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
			_, err := attacker.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			return err
		})
		add("create a pod in "+namespace, func(ctx context.Context) error {
			_, err := attacker.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			return err
		})
		add("create a token in "+namespace, func(ctx context.Context) error {
			_, err := attacker.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "osm-controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		})
	}
	add("read its certificate elsewhere", func(ctx context.Context) error {
		_, err := attacker.CoreV1().Secrets("shop").Get(ctx, servingSecret, metav1.GetOptions{})
		return err
	})
	w.refused(attempts)
}

// TestStolenController: a controller's token can change caBundle of the mesh's webhook and nothing else in any webhook
// configuration. The account is given every verb on them first, so that the policy alone refuses.
func TestStolenController(t *testing.T) {
	w := newChartCluster(t)
	attacker := w.attacker("osm-controller")
	w.enforced(attacker)
	w.grantEverything("osm-controller")
	w.unchanged(attacker)
	for _, a := range w.patches(attacker, "caBundle", func(c *admissionv1.MutatingWebhookConfiguration) {
		c.Webhooks[0].ClientConfig.CABundle = catest.New(t).Trust().Bundle
	}) {
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
			_, err := w.webhooks(attacker).Patch(ctx, "another", types.MergePatchType, []byte(`{"webhooks":null}`), metav1.PatchOptions{})
			return err
		}},
		{"create a configuration", func(ctx context.Context) error {
			made := other.DeepCopy()
			made.Name, made.ResourceVersion = "made", ""
			_, err := w.webhooks(attacker).Create(ctx, made, metav1.CreateOptions{})
			return err
		}},
		{"delete its configuration", func(ctx context.Context) error {
			return w.webhooks(attacker).Delete(ctx, api.WebhookConfigName("osm"), metav1.DeleteOptions{})
		}},
		{"touch a validating configuration of that name", func(ctx context.Context) error {
			_, err := attacker.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, api.WebhookConfigName("osm"), types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		}},
	})
}

// grantEverything gives an account all verbs on webhook configurations, so that only the policy is left.
func (w *chartCluster) grantEverything(account string) {
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
