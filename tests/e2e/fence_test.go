//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
)

// asController returns a client with the rights of the controller only.
func (s *story) asController(t *testing.T) kubernetes.Interface {
	t.Helper()
	return s.as(t, api.AppController)
}

// as returns a client with the rights of a ServiceAccount of the control plane.
func (s *story) as(t *testing.T, account string) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + api.DefaultNamespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + api.DefaultNamespace, "system:authenticated"},
	}
	return must(kubernetes.NewForConfig(config))(t)
}

// tlsSecret returns a Secret of the same type as the mesh's own; tests change it into a user's.
func tlsSecret(name string, labels map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: {}, corev1.TLSPrivateKeyKey: {}},
	}
}

func ours() map[string]string {
	return map[string]string{api.LabelProxyCertificate: api.DefaultMeshName}
}

// fence tries, with a stolen controller's rights, to reach users' Secrets.
func (s *story) fence(t *testing.T) {
	namespace := s.meshNamespace(t, "e2e-fence")
	admin := s.kube.CoreV1().Secrets(namespace)
	for _, secret := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Name: "password"}, StringData: map[string]string{"password": "12345"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "osm-proxy-opaque", Labels: ours()}, StringData: map[string]string{"password": "12345"}},
		tlsSecret("osm-proxy-unlabelled", nil),
		tlsSecret("osm-proxy-other-mesh", map[string]string{api.LabelProxyCertificate: "other"}),
		tlsSecret("ingress", ours()),
	} {
		must(admin.Create(t.Context(), secret, metav1.CreateOptions{}))(t)
		t.Run(secret.Name, func(t *testing.T) { tryForeign(t, s.asController(t).CoreV1().Secrets(namespace), secret.Name) })
		now := must(admin.Get(t.Context(), secret.Name, metav1.GetOptions{}))(t)
		if len(now.Labels) != len(secret.Labels) || now.Annotations != nil {
			t.Errorf("Secret %s was changed: %v", secret.Name, now.ObjectMeta)
		}
	}
	secrets := s.asController(t).CoreV1().Secrets(namespace)
	t.Run("create", func(t *testing.T) { tryCreate(t, secrets) })
	t.Run("its own", func(t *testing.T) { applyOwn(t, secrets) })
	t.Run("own namespace", func(t *testing.T) { s.tryOwnNamespace(t) })
	t.Run("stolen injector", func(t *testing.T) { s.tryInjector(t) })
	t.Run("webhook", func(t *testing.T) { s.tryWebhook(t) })
}

// tryInjector tries, with an injector's rights, to reach the root, Secrets, pods and the webhook.
func (s *story) tryInjector(t *testing.T) {
	attacker := s.as(t, api.AppInjector)
	own := attacker.CoreV1().Secrets(api.DefaultNamespace)
	named := metav1.ListOptions{FieldSelector: "metadata.name=" + api.InjectorCertificateSecret}
	if list, err := own.List(t.Context(), named); err != nil || len(list.Items) != 1 || len(list.Items[0].Data[corev1.TLSPrivateKeyKey]) == 0 {
		t.Errorf("read its own certificate: %v", err)
	}
	for attempt, do := range map[string]func(context.Context) error{
		"read the root": func(ctx context.Context) error {
			_, err := own.Get(ctx, api.CABundleSecret, metav1.GetOptions{})
			return err
		},
		"list Secrets": func(ctx context.Context) error { _, err := own.List(ctx, metav1.ListOptions{}); return err },
		"create a Secret": func(ctx context.Context) error {
			_, err := own.Create(ctx, tlsSecret("osm-proxy-x", ours()), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		},
		"list pods": func(ctx context.Context) error {
			_, err := attacker.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
			return err
		},
		"patch the webhook": func(ctx context.Context) error {
			_, err := attacker.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, api.WebhookConfigName(api.DefaultMeshName), types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
			return err
		},
	} {
		if err := do(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s with an injector's rights = %v, want it forbidden", attempt, err)
		}
	}
}

// tryWebhook tries, with a controller's rights, to change other fields than caBundle in the webhook's configuration.
func (s *story) tryWebhook(t *testing.T) {
	hooks := s.asController(t).AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, patch := range []string{
		`[{"op":"replace","path":"/webhooks/0/rules/0/resources","value":["*"]}]`,
		`[{"op":"remove","path":"/webhooks/0/namespaceSelector"}]`,
		`[{"op":"remove","path":"/webhooks/0/clientConfig/service"},{"op":"add","path":"/webhooks/0/clientConfig/url","value":"https://attacker.example"}]`,
		`[{"op":"add","path":"/metadata/labels/attacker","value":"x"}]`,
		`[{"op":"remove","path":"/webhooks/0"}]`,
	} {
		for _, dry := range [][]string{nil, {metav1.DryRunAll}} {
			_, err := hooks.Patch(t.Context(), api.WebhookConfigName(api.DefaultMeshName), types.JSONPatchType, []byte(patch), metav1.PatchOptions{DryRun: dry})
			if !apierrors.IsForbidden(err) {
				t.Errorf("patch %s (dry run %v) = %v, want it forbidden", patch, dry, err)
			}
		}
	}
}

// tryForeign tries everything that could show or change a Secret, or make it the controller's own.
func tryForeign(t *testing.T, secrets typed.SecretInterface, name string) {
	ctx := t.Context()
	patch := func(kind types.PatchType, body string, options metav1.PatchOptions) func() error {
		return func() error { _, err := secrets.Patch(ctx, name, kind, []byte(body), options); return err }
	}
	grab := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, api.LabelProxyCertificate, api.DefaultMeshName)
	apply := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"labels":{%q:%q}}}`, name, api.LabelProxyCertificate, api.DefaultMeshName)
	force := true
	attempts := map[string]func() error{
		"get":  func() error { _, err := secrets.Get(ctx, name, metav1.GetOptions{}); return err },
		"list": func() error { _, err := secrets.List(ctx, metav1.ListOptions{}); return err },
		"list one": func() error {
			_, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
			return err
		},
		"watch": func() error { _, err := secrets.Watch(ctx, metav1.ListOptions{}); return err },
		"update": func() error {
			_, err := secrets.Update(ctx, tlsSecret(name, ours()), metav1.UpdateOptions{})
			return err
		},
		"empty patch":      patch(types.MergePatchType, `{}`, metav1.PatchOptions{}),
		"empty JSON patch": patch(types.JSONPatchType, `[]`, metav1.PatchOptions{}),
		"empty strategic":  patch(types.StrategicMergePatchType, `{}`, metav1.PatchOptions{}),
		"dry-run patch":    patch(types.MergePatchType, `{}`, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}),
		"label grab":       patch(types.MergePatchType, grab, metav1.PatchOptions{}),
		"dry-run grab":     patch(types.MergePatchType, grab, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}),
		"apply":            patch(types.ApplyPatchType, apply, metav1.PatchOptions{FieldManager: "osm-controller", Force: &force}),
		"dry-run apply":    patch(types.ApplyPatchType, apply, metav1.PatchOptions{FieldManager: "osm-controller", Force: &force, DryRun: []string{metav1.DryRunAll}}),
		"delete":           func() error { return secrets.Delete(ctx, name, metav1.DeleteOptions{}) },
		"dry-run delete": func() error {
			return secrets.Delete(ctx, name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		},
		"delete collection": func() error { return secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}) },
	}
	for attempt, do := range attempts {
		if err := do(); !apierrors.IsForbidden(err) {
			t.Errorf("%s of Secret %s = %v, want it forbidden", attempt, name, err)
		}
	}
}

// tryCreate tries to create Secrets that are not proxies' certificates, especially a service account token.
func tryCreate(t *testing.T, secrets typed.SecretInterface) {
	token := tlsSecret("osm-proxy-token", ours())
	token.Type = corev1.SecretTypeServiceAccountToken
	token.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
	generated := tlsSecret("", ours())
	generated.GenerateName = "ingress-"
	for what, secret := range map[string]*corev1.Secret{
		"another name":           tlsSecret("ingress-2", ours()),
		"another generated name": generated,
		"no label":               tlsSecret("osm-proxy-2", nil),
		"another mesh's label":   tlsSecret("osm-proxy-3", map[string]string{api.LabelProxyCertificate: "other"}),
		"a token":                token,
	} {
		for _, dry := range [][]string{nil, {metav1.DryRunAll}} {
			if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{DryRun: dry}); !apierrors.IsForbidden(err) {
				t.Errorf("create a Secret with %s (dry run %v) = %v, want it forbidden", what, dry, err)
			}
		}
	}
}

// applyOwn does the controller's legitimate work.
func applyOwn(t *testing.T, secrets typed.SecretInterface) {
	const name = "osm-proxy-own"
	for _, certificate := range []string{"first", "second"} {
		secret := corev1apply.Secret(name, "").WithType(corev1.SecretTypeTLS).WithLabels(ours()).
			WithData(map[string][]byte{corev1.TLSCertKey: []byte(certificate), corev1.TLSPrivateKeyKey: {}})
		secret.Namespace = nil
		got, err := secrets.Apply(t.Context(), secret, metav1.ApplyOptions{FieldManager: "osm-controller"})
		if err != nil || string(got.Data[corev1.TLSCertKey]) != certificate {
			t.Errorf("apply Secret %s = %v, %v; want it to hold the %s certificate", name, got, err, certificate)
		}
	}
	if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete its own Secret %s: %v", name, err)
	}
}

// tryOwnNamespace tries to change other objects in the mesh's namespace: Helm's release, from which an
// administrator's next osm mesh scale renders the chart, and the injector's rights.
func (s *story) tryOwnNamespace(t *testing.T) {
	list := must(s.kube.CoreV1().Secrets(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"}))(t)
	if len(list.Items) == 0 {
		t.Fatal("the mesh has no release")
	}
	secrets := s.asController(t).CoreV1().Secrets(api.DefaultNamespace)
	name := list.Items[0].Name
	dry := []string{metav1.DryRunAll}
	token := tlsSecret("osm-proxy-token", ours())
	token.Type = corev1.SecretTypeServiceAccountToken
	token.Annotations = map[string]string{corev1.ServiceAccountNameKey: api.AppInjector}
	for attempt, do := range map[string]func(context.Context) error{
		"get":  func(ctx context.Context) error { _, err := secrets.Get(ctx, name, metav1.GetOptions{}); return err },
		"list": func(ctx context.Context) error { _, err := secrets.List(ctx, metav1.ListOptions{}); return err },
		"patch": func(ctx context.Context) error {
			shown, err := secrets.Patch(ctx, name, types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: dry})
			if err == nil {
				t.Logf("an empty patch showed %d bytes of the release", len(shown.Data["release"]))
			}
			return err
		},
		"create a token beside": func(ctx context.Context) error {
			_, err := secrets.Create(ctx, token, metav1.CreateOptions{DryRun: dry})
			return err
		},
		"delete": func(ctx context.Context) error { return secrets.Delete(ctx, name, metav1.DeleteOptions{DryRun: dry}) },
	} {
		if err := do(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s of Secret %s = %v, want it forbidden", attempt, name, err)
		}
	}
}
