package charts_test

import (
	"context"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/webhook"
	"github.com/osm-edge/osm/tests/realapi"
)

// chartCluster is a real API server with the chart's accounts, rights, policies and webhook configuration.
type chartCluster struct {
	t      *testing.T
	server *realapi.Server
	admin  *client.Clientset
}

func newChartCluster(t *testing.T) *chartCluster {
	server := realapi.Start(t)
	w := &chartCluster{t: t, server: server, admin: server.Client(t)}
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

func (w *chartCluster) secret(name, namespace string) {
	_, err := w.admin.CoreV1().Secrets(namespace).Create(w.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"private.key": "secret"},
	}, metav1.CreateOptions{})
	w.must(err)
}

func (w *chartCluster) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// attacker is a client that has a ServiceAccount's token and nothing else.
func (w *chartCluster) attacker(account string) *client.Clientset {
	w.t.Helper()
	token, err := w.admin.CoreV1().ServiceAccounts(releaseNamespace).CreateToken(w.t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	config := w.server.Config()
	config.BearerToken = token.Status.Token
	attacker, err := client.NewForConfig(config)
	w.must(err)
	return attacker
}

func (*chartCluster) webhooks(c client.Interface) typedWebhooks {
	return c.AdmissionregistrationV1().MutatingWebhookConfigurations()
}

// typedWebhooks is the part of a client's API for webhook configurations that the tests use.
type typedWebhooks interface {
	webhook.Patcher
	Get(context.Context, string, metav1.GetOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	List(context.Context, metav1.ListOptions) (*admissionv1.MutatingWebhookConfigurationList, error)
	Create(context.Context, *admissionv1.MutatingWebhookConfiguration, metav1.CreateOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	Update(context.Context, *admissionv1.MutatingWebhookConfiguration, metav1.UpdateOptions) (*admissionv1.MutatingWebhookConfiguration, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// enforced waits until the API server enforces the policies, which it compiles shortly after their creation.
func (w *chartCluster) enforced(attacker client.Interface) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	dry := []string{metav1.DryRunAll}
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		_, one := w.webhooks(attacker).Patch(w.t.Context(), api.WebhookConfigName("osm"), types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{DryRun: dry})
		_, two := attacker.CoreV1().Secrets("shop").Patch(w.t.Context(), "password", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: dry})
		if apierrors.IsForbidden(one) && apierrors.IsForbidden(two) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the policies are not enforced: %v, %v", one, two)
		}
	}
}
