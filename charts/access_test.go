package charts_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api"
)

// accounts are the service accounts, one for each process.
func accounts() []string { return []string{"osm-bootstrap", "osm-controller", "osm-injector"} }

// No rule has a wildcard, or lets an account escalate its rights.
func TestNoRuleIsOpenEnded(t *testing.T) {
	for _, rule := range slices.Concat(slices.Collect(maps.Values(clusterRules(t))), slices.Collect(maps.Values(namespaceRules(t)))) {
		for _, policy := range rule {
			if len(policy.NonResourceURLs) != 0 {
				t.Errorf("non-resource URLs in %v", policy)
			}
			for _, word := range slices.Concat(policy.APIGroups, policy.Resources, policy.Verbs) {
				if slices.Contains([]string{"*", "escalate", "bind", "impersonate", "deletecollection"}, word) {
					t.Errorf("%q in %v", word, policy)
				}
			}
			for _, resource := range policy.Resources {
				if slices.Contains([]string{"pods/exec", "pods/portforward", "serviceaccounts/token", "nodes/proxy"}, resource) {
					t.Errorf("%q in %v", resource, policy)
				}
			}
		}
	}
}

// No account can read users' Secrets: cluster-wide only the controller may write Secrets, without reading them. The
// injector reads its certificate, and no root.
func TestSecretsCannotBeRead(t *testing.T) {
	for account, rules := range clusterRules(t) {
		for _, rule := range rules {
			if !slices.Contains(rule.Resources, "secrets") {
				continue
			}
			if account != "osm-controller" || !slices.Equal(rule.Verbs, []string{"create", "patch", "delete"}) {
				t.Errorf("cluster-wide %s may %v secrets", account, rule.Verbs)
			}
		}
	}
	for account, rules := range namespaceRules(t) {
		for _, rule := range rules {
			allowed := map[string][]string{"osm-controller": {"osm-ca-bundle", "osm-ca-bundle-next"}, "osm-injector": {"osm-injector-certificate"}}[account]
			created := account == "osm-controller" && slices.Equal(rule.Verbs, []string{"create"})
			if slices.Contains(rule.Resources, "secrets") && !created && !slices.Equal(rule.ResourceNames, allowed) {
				t.Errorf("in its namespace %s may %v secrets %v", account, rule.Verbs, rule.ResourceNames)
			}
		}
	}
}

// Anyone may reach the injector's port, so it has read-only rights.
func TestTheInjectorWritesNothing(t *testing.T) {
	for _, rule := range append(clusterRules(t)["osm-injector"], namespaceRules(t)["osm-injector"]...) {
		for _, verb := range rule.Verbs {
			if !slices.Contains([]string{"get", "list", "watch"}, verb) {
				t.Errorf("the injector may %s %v", verb, rule.Resources)
			}
		}
		if !slices.Equal(rule.Resources, []string{"namespaces"}) && !slices.Equal(rule.Resources, []string{"meshconfigs"}) && !slices.Equal(rule.Resources, []string{"secrets"}) {
			t.Errorf("the injector may read %v", rule.Resources)
		}
	}
}

// clusterRules and namespaceRules follow the bindings: what each account may do, everywhere and in the mesh's namespace.
// They also check that each role is bound once, to the account it is named after.
func clusterRules(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	all := objects(t, values{})
	found := map[string][]rbacv1.PolicyRule{}
	for _, binding := range every[*rbacv1.ClusterRoleBinding](all) {
		role := must[*rbacv1.ClusterRole](t, all, binding.RoleRef.Name)
		found[subject(t, binding.Subjects)] = role.Rules
	}
	checkAccounts(t, found, len(every[*rbacv1.ClusterRole](all)))
	return found
}

func namespaceRules(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	all := objects(t, values{})
	found := map[string][]rbacv1.PolicyRule{}
	for _, binding := range every[*rbacv1.RoleBinding](all) {
		role := must[*rbacv1.Role](t, all, binding.RoleRef.Name)
		found[subject(t, binding.Subjects)] = role.Rules
	}
	checkAccounts(t, found, len(every[*rbacv1.Role](all)))
	return found
}

func subject(t *testing.T, subjects []rbacv1.Subject) string {
	t.Helper()
	if len(subjects) != 1 || subjects[0].Kind != rbacv1.ServiceAccountKind || subjects[0].Namespace != releaseNamespace {
		t.Fatalf("subjects %v, want one service account of %s", subjects, releaseNamespace)
	}
	return subjects[0].Name
}

func checkAccounts(t *testing.T, rules map[string][]rbacv1.PolicyRule, roles int) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(rules)); !slices.Equal(got, accounts()) || roles != len(got) {
		t.Errorf("%d roles bound to %v, want one for each of %v", roles, got, accounts())
	}
}

func TestEachProcessHasAnAccountOfItsOwn(t *testing.T) {
	all := objects(t, values{})
	for name, pod := range pods(all) {
		if pod.Spec.ServiceAccountName != name {
			t.Errorf("%s runs as %s", name, pod.Spec.ServiceAccountName)
		}
		account := must[*corev1.ServiceAccount](t, all, name)
		if mount := account.AutomountServiceAccountToken; mount == nil || *mount {
			t.Errorf("service account %s mounts its token into every pod that names it", name)
		}
	}
}

// The hook may patch exactly the definitions in the control-plane image.
func TestHookMayApplyExactlyItsDefinitions(t *testing.T) {
	files, err := filepath.Glob("../pkg/controlplane/bootstrap/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("looking for definitions: %v, %v", files, err)
	}
	var brought []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &definition); err != nil {
			t.Fatalf("decoding %s: %v", file, err)
		}
		brought = append(brought, definition.Name)
	}
	var allowed []string
	for _, rule := range clusterRules(t)["osm-bootstrap"] {
		if slices.Contains(rule.Verbs, "patch") {
			allowed = append(allowed, rule.ResourceNames...)
		}
	}
	slices.Sort(allowed)
	if diff := cmp.Diff(brought, allowed); diff != "" {
		t.Errorf("definitions in the image (-) and in the hook's role (+):\n%s", diff)
	}
}

// Two meshes in one cluster must not overwrite each other's cluster-wide objects.
func TestClusterWideNamesCarryTheMesh(t *testing.T) {
	clusterWide := func(mesh string) []string {
		var names []string
		for _, object := range objects(t, set(t, "osm.meshName="+mesh)) {
			accessor, err := meta.Accessor(object)
			if err != nil {
				t.Fatal(err)
			}
			if accessor.GetNamespace() == "" {
				names = append(names, object.GetObjectKind().GroupVersionKind().Kind+"/"+accessor.GetName())
			} else if accessor.GetNamespace() != releaseNamespace {
				t.Errorf("%s is in namespace %s", accessor.GetName(), accessor.GetNamespace())
			}
		}
		return names
	}
	for _, object := range objects(t, set(t, "osm.meshName=first")) {
		accessor, err := meta.Accessor(object)
		if err != nil {
			t.Fatal(err)
		}
		// osm reads these to find an object's owner before it deletes or overwrites it: hooks have no Helm annotation.
		if labels := accessor.GetLabels(); labels[api.LabelMeshNamespace] != releaseNamespace || labels[api.LabelInstance] != "first" {
			t.Errorf("%s %s does not name its mesh and namespace: labels %v", object.GetObjectKind().GroupVersionKind().Kind, accessor.GetName(), labels)
		}
	}
	first, second := clusterWide("first"), clusterWide("second")
	if len(first) < 9 {
		t.Errorf("only %d cluster-wide objects: %v", len(first), first)
	}
	for _, name := range first {
		if slices.Contains(second, name) {
			t.Errorf("both meshes have %s", name)
		}
	}
}

func TestEveryObjectIsInTheInventory(t *testing.T) {
	for _, object := range objects(t, fromFile(t, "testdata/everything.values.yaml")) {
		accessor, err := meta.Accessor(object)
		if err != nil {
			t.Fatal(err)
		}
		got := labels.Set(accessor.GetLabels())
		for label, want := range map[string]string{
			"app.kubernetes.io/name": "openservicemesh.io", "app.kubernetes.io/instance": "second-mesh", "app.kubernetes.io/version": load(t).AppVersion(),
		} {
			if got[label] != want {
				t.Errorf("%T %s: label %s is %q, want %q", object, accessor.GetName(), label, got[label], want)
			}
		}
	}
}

// Pods of the mesh's namespaces get a sidecar; pods of the control plane never do, however they are labelled.
func TestWebhookSelectors(t *testing.T) {
	all := objects(t, values{})
	webhook := must[*admissionv1.MutatingWebhookConfiguration](t, all, "osm-webhook-osm").Webhooks[0]
	namespace := func(name string, more labels.Set) bool {
		return selects(t, webhook.NamespaceSelector, labels.Merge(labels.Set{corev1.LabelMetadataName: name}, more))
	}
	member := labels.Set{"openservicemesh.io/monitored-by": "osm"}
	for _, test := range []struct {
		name   string
		labels labels.Set
		want   bool
	}{
		{"shop", member, true},
		{"shop", labels.Merge(member, labels.Set{"openservicemesh.io/ignore": "false"}), true},
		{"shop", nil, false},
		{"shop", labels.Set{"openservicemesh.io/monitored-by": "other"}, false},
		{"shop", labels.Merge(member, labels.Set{"openservicemesh.io/ignore": "true"}), false},
		{"kube-system", member, false},
		{"kube-public", member, false},
		{releaseNamespace, member, false},
	} {
		if got := namespace(test.name, test.labels); got != test.want {
			t.Errorf("namespace %s %v: matched %t, want %t", test.name, test.labels, got, test.want)
		}
	}
	if !selects(t, webhook.ObjectSelector, labels.Set{"app": "osm-controller-lookalike"}) {
		t.Error("an application's pod is not matched")
	}
	checkOwnPods(t, all, webhook)
}

func checkOwnPods(t *testing.T, all []runtime.Object, webhook admissionv1.MutatingWebhook) {
	t.Helper()
	for name, pod := range pods(all) {
		if selects(t, webhook.ObjectSelector, labels.Set(pod.Labels)) {
			t.Errorf("the webhook matches the pod of %s", name)
		}
	}
}

// Fail is safe only inside those selectors; the caBundle is the controller's field and must not be in the chart.
func TestWebhookCall(t *testing.T) {
	webhook := must[*admissionv1.MutatingWebhookConfiguration](t, objects(t, values{}), "osm-webhook-osm").Webhooks[0]
	if webhook.ClientConfig.CABundle != nil {
		t.Error("the chart sets caBundle")
	}
	if *webhook.FailurePolicy != admissionv1.Fail || *webhook.TimeoutSeconds != 10 || *webhook.SideEffects != admissionv1.SideEffectClassNone {
		t.Errorf("failurePolicy %s, timeout %d, sideEffects %s", *webhook.FailurePolicy, *webhook.TimeoutSeconds, *webhook.SideEffects)
	}
	relaxed := must[*admissionv1.MutatingWebhookConfiguration](t, objects(t, set(t, "osm.injector.webhookFailurePolicy=Ignore,osm.injector.webhookTimeoutSeconds=3")), "osm-webhook-osm").Webhooks[0]
	if *relaxed.FailurePolicy != admissionv1.Ignore || *relaxed.TimeoutSeconds != 3 {
		t.Errorf("after setting them: failurePolicy %s, timeout %d", *relaxed.FailurePolicy, *relaxed.TimeoutSeconds)
	}
}
