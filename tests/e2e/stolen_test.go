//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
)

// stolenAgent is the user agent of clients with stolen tokens, so that their attempts are not counted as requests of the
// accounts' owners.
const stolenAgent = "osm-e2e-stolen"

// attacker has the rights of one account, and no others.
type attacker struct {
	kube    kubernetes.Interface
	dynamic dynamic.Interface
}

// withToken returns an attacker with a token of the account, as mounted into each of its pods.
func (s *story) withToken(t *testing.T, account string) attacker {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr(int64(600))}}
	token := must(s.kube.CoreV1().ServiceAccounts(api.DefaultNamespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{}))(t)
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token.Status.Token
	return newAttacker(t, config)
}

func newAttacker(t *testing.T, config *rest.Config) attacker {
	t.Helper()
	config.UserAgent = stolenAgent
	return attacker{kube: must(kubernetes.NewForConfig(config))(t), dynamic: must(dynamic.NewForConfig(config))(t)}
}

// attempt is a request that must be forbidden. Writes are dry runs, so that one which succeeds does no harm.
type attempt struct {
	name string
	do   func(ctx context.Context, with attacker) error
}

// expectForbidden makes every attempt and expects a refusal. An account without any rights would pass as well; the rest
// of the story proves the rights that it has.
func expectForbidden(t *testing.T, with attacker, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		if err := a.do(t.Context(), with); !apierrors.IsForbidden(err) {
			t.Errorf("%s = %v, want it forbidden", a.name, err)
		}
	}
}

// read, write and remove are attempts on one object of any kind.
func read(name string, resource schema.GroupVersionResource, namespace, object string) attempt {
	return attempt{name, func(ctx context.Context, with attacker) error {
		_, err := with.dynamic.Resource(resource).Namespace(namespace).Get(ctx, object, metav1.GetOptions{})
		return err
	}}
}

func write(name string, resource schema.GroupVersionResource, namespace, object, patch string) attempt {
	return attempt{name, func(ctx context.Context, with attacker) error {
		_, err := with.dynamic.Resource(resource).Namespace(namespace).
			Patch(ctx, object, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}}
}

func remove(name string, resource schema.GroupVersionResource, namespace, object string) attempt {
	return attempt{name, func(ctx context.Context, with attacker) error {
		return with.dynamic.Resource(resource).Namespace(namespace).Delete(ctx, object, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	}}
}

func add(name string, resource schema.GroupVersionResource, namespace string, object map[string]any) attempt {
	return attempt{name, func(ctx context.Context, with attacker) error {
		_, err := with.dynamic.Resource(resource).Namespace(namespace).
			Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}}
}

func list(name string, resource schema.GroupVersionResource, namespace string) attempt {
	return attempt{name, func(ctx context.Context, with attacker) error {
		_, err := with.dynamic.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
		return err
	}}
}

func objects(group, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: name}
}

// object is a manifest with only its kind and name.
func object(version, kind, name string) map[string]any {
	return map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}
}

// escalations returns the ways from one account to the whole cluster; every account of the mesh must be refused.
func escalations() []attempt {
	const rbac = "rbac.authorization.k8s.io"
	owner := object(rbac+"/v1", "ClusterRoleBinding", "mine")
	owner["roleRef"] = map[string]any{"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"}
	return []attempt{
		list("list all Secrets", objects("", "secrets"), ""),
		list("list Secrets of kube-system", objects("", "secrets"), metav1.NamespaceSystem),
		list("list Secrets beside the mesh", objects("", "secrets"), api.DefaultNamespace),
		list("list nodes", objects("", "nodes"), ""),
		list("list ConfigMaps", objects("", "configmaps"), ""),
		add("bind cluster-admin", objects(rbac, "clusterrolebindings"), "", owner),
		write("widen the controller's ClusterRole", objects(rbac, "clusterroles"), "", "osm-controller-"+api.DefaultMeshName, `{"rules":[]}`),
		write("widen the injector's Role", objects(rbac, "roles"), api.DefaultNamespace, api.AppInjector, `{"rules":[]}`),
		add("create a pod beside the mesh", objects("", "pods"), api.DefaultNamespace, object("v1", "Pod", "mine")),
		add("create a pod in kube-system", objects("", "pods"), metav1.NamespaceSystem, object("v1", "Pod", "mine")),
		write("change the controller's Deployment", objects("apps", "deployments"), api.DefaultNamespace, api.AppController, `{"spec":{"paused":true}}`),
		remove("delete a namespace", objects("", "namespaces"), "", nsServer),
		write("label a namespace", objects("", "namespaces"), "", nsUnmeshed, `{"metadata":{"labels":{"openservicemesh.io/monitored-by":"osm"}}}`),
		write("open the mesh's policy", objects("networking.k8s.io", "networkpolicies"), api.DefaultNamespace, api.AppController, `{"spec":{"policyTypes":[]}}`),
		remove("lift the mesh's policy", objects("networking.k8s.io", "networkpolicies"), api.DefaultNamespace, api.AppInjector),
		remove("lift the Secrets' fence", objects("admissionregistration.k8s.io", "validatingadmissionpolicybindings"), "", "osm-proxy-secrets-"+api.DefaultMeshName),
		remove("delete the webhook", objects("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), "", api.WebhookConfigName(api.DefaultMeshName)),
		add("add a webhook", objects("admissionregistration.k8s.io", "validatingwebhookconfigurations"), "", object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "mine")),
		write("change the mesh's settings", meshConfigs(), api.DefaultNamespace, api.MeshConfigName, `{"spec":{"traffic":{"enableEgress":true}}}`),
		{"take another's token", func(ctx context.Context, with attacker) error {
			_, err := with.kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx, "default", new(authenticationv1.TokenRequest), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}},
		{"ask a node", func(ctx context.Context, with attacker) error {
			return with.kube.CoreV1().RESTClient().Get().Resource("nodes").Name("node-1").SubResource("proxy").Suffix("pods").Do(ctx).Error()
		}},
		{"run a command in a pod", func(ctx context.Context, with attacker) error {
			return with.kube.CoreV1().RESTClient().Post().Namespace(nsClient).Resource("pods").Name("any").SubResource("exec").Param("command", "id").Do(ctx).Error()
		}},
	}
}

// withoutSettings omits the attempts that only the install hook may make: it may change the mesh's settings and its own
// definitions.
func withoutSettings(attempts []attempt) []attempt {
	var rest []attempt
	for _, a := range attempts {
		if a.name != "change the mesh's settings" {
			rest = append(rest, a)
		}
	}
	return rest
}

// stolen tries what an attacker could do with a stolen account of the mesh.
func (s *story) stolen(t *testing.T, r *recorder) {
	definition := objects("apiextensions.k8s.io", "customresourcedefinitions")
	const meshRoots, meshSettings = "meshrootcertificates.config.openservicemesh.io", "meshconfigs.config.openservicemesh.io"
	t.Run("injector", func(t *testing.T) {
		expectForbidden(t, s.withToken(t, api.AppInjector), append(escalations(),
			write("change a definition", definition, "", meshRoots, `{"metadata":{"labels":{"a":"b"}}}`),
			list("list pods", objects("", "pods"), ""),
			add("create a Secret beside an application", objects("", "secrets"), nsServer, object("v1", "Secret", "osm-proxy-mine")),
			read("read a proxy's Secret", objects("", "secrets"), nsServer, api.ProxySecretName(s.apps.server.name)),
			remove("delete a proxy's Secret", objects("", "secrets"), nsServer, api.ProxySecretName(s.apps.server.name)),
			write("take the controllers' Lease", objects("coordination.k8s.io", "leases"), api.DefaultNamespace, api.ControllerLease, `{"spec":{"holderIdentity":"me"}}`),
		))
	})
	t.Run("controller", func(t *testing.T) {
		expectForbidden(t, s.withToken(t, api.AppController), append(escalations(),
			write("change a definition", definition, "", meshRoots, `{"metadata":{"labels":{"a":"b"}}}`),
			write("change the webhook", objects("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), "", api.WebhookConfigName(api.DefaultMeshName), `{"metadata":{"labels":{"a":"b"}}}`),
			read("read a proxy's Secret", objects("", "secrets"), nsServer, api.ProxySecretName(s.apps.server.name)),
			remove("delete its own Lease", objects("coordination.k8s.io", "leases"), api.DefaultNamespace, api.ControllerLease),
		))
	})
	if r == nil {
		t.Log("the install hook's account is not tried: its rules were not recorded")
		return
	}
	t.Run("install hook", func(t *testing.T) {
		s.restoreHook(t, r)
		with := s.withToken(t, api.AppBootstrap)
		expectForbidden(t, with, append(withoutSettings(escalations()),
			write("change another's definition", definition, "", "certificates.cert-manager.io", `{"metadata":{"labels":{"a":"b"}}}`),
			remove("delete a definition", definition, "", meshSettings),
			write("change a root", schema.GroupVersionResource{Group: "config.openservicemesh.io", Version: "v1alpha2", Resource: "meshrootcertificates"}, api.DefaultNamespace, "any", `{}`),
			write("change another's settings", meshConfigs(), nsUser, api.MeshConfigName, `{}`),
			list("list pods", objects("", "pods"), ""),
			read("read a proxy's Secret", objects("", "secrets"), nsServer, api.ProxySecretName(s.apps.server.name)),
		))
		// This is the hook's account: it may do the hook's work.
		if err := read("", definition, "", meshSettings).do(t.Context(), with); err != nil {
			t.Errorf("read the mesh's own definition: %v", err)
		}
	})
}

// restoreHook creates the install hook's account and rules again. Helm has deleted both.
func (s *story) restoreHook(t *testing.T, r *recorder) {
	t.Helper()
	rbac, meta := s.kube.RbacV1(), metav1.ObjectMeta{Name: api.AppBootstrap, Namespace: api.DefaultNamespace}
	wide := metav1.ObjectMeta{Name: "e2e-" + api.AppBootstrap}
	here, everywhere := r.rulesOf(api.AppBootstrap, api.DefaultNamespace), r.rulesOf(api.AppBootstrap, "")
	if len(here) == 0 || len(everywhere) == 0 {
		t.Fatalf("%s was never seen to have rights: %v here, %v everywhere", api.AppBootstrap, here, everywhere)
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: api.AppBootstrap, Namespace: api.DefaultNamespace}}
	reference := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	ctx, create := t.Context(), metav1.CreateOptions{}
	must(s.kube.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, create))(t)
	t.Cleanup(func() {
		ctx, now := withoutTest(t), metav1.DeleteOptions{}
		for what, err := range map[string]error{
			"ServiceAccount":     s.kube.CoreV1().ServiceAccounts(meta.Namespace).Delete(ctx, meta.Name, now),
			"RoleBinding":        rbac.RoleBindings(meta.Namespace).Delete(ctx, meta.Name, now),
			"Role":               rbac.Roles(meta.Namespace).Delete(ctx, meta.Name, now),
			"ClusterRoleBinding": rbac.ClusterRoleBindings().Delete(ctx, wide.Name, now),
			"ClusterRole":        rbac.ClusterRoles().Delete(ctx, wide.Name, now),
		} {
			if ignoreMissing(err) != nil {
				t.Errorf("delete the hook's %s: %v", what, err)
			}
		}
	})
	must(rbac.Roles(meta.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: here}, create))(t)
	must(rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: wide, Rules: everywhere}, create))(t)
	must(rbac.RoleBindings(meta.Namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: reference("Role", meta.Name)}, create))(t)
	must(rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: wide, Subjects: subjects, RoleRef: reference("ClusterRole", wide.Name)}, create))(t)
	eventually(t, effectTime, func(ctx context.Context) string { // RBAC takes a moment to see them
		err := read("", objects("apiextensions.k8s.io", "customresourcedefinitions"), "", "meshconfigs.config.openservicemesh.io").do(ctx, s.withToken(t, api.AppBootstrap))
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// developer uses an application developer's kubeconfig: the role edit in one namespace of the mesh.
func (s *story) developer(t *testing.T) {
	const name = "e2e-developer"
	must(s.kube.RbacV1().RoleBindings(nsServer).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
	}, metav1.CreateOptions{}))(t)
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	with := newAttacker(t, config)
	eventually(t, effectTime, func(ctx context.Context) string {
		// The developer can read the Secret of their own application: anyone who may run pods under an account is
		// that account.
		if err := read("", objects("", "secrets"), nsServer, api.ProxySecretName(s.apps.server.name)).do(ctx, with); err != nil {
			return err.Error()
		}
		return ""
	})
	roots := schema.GroupVersionResource{Group: "config.openservicemesh.io", Version: "v1alpha2", Resource: "meshrootcertificates"}
	expectForbidden(t, with, append(escalations(),
		read("read the mesh's settings", meshConfigs(), api.DefaultNamespace, api.MeshConfigName),
		add("make settings of one's own", meshConfigs(), nsServer, object("config.openservicemesh.io/v1alpha2", "MeshConfig", api.MeshConfigName)),
		list("list roots", roots, api.DefaultNamespace),
		add("make a root", roots, api.DefaultNamespace, object("config.openservicemesh.io/v1alpha2", "MeshRootCertificate", "mine")),
		add("make a root in one's own namespace", roots, nsServer, object("config.openservicemesh.io/v1alpha2", "MeshRootCertificate", "mine")),
		read("read the root's key", objects("", "secrets"), api.DefaultNamespace, api.CABundleSecret),
		read("read another application's Secret", objects("", "secrets"), nsClient, api.ProxySecretName(s.apps.client.name)),
		write("take one's own namespace out of the mesh", objects("", "namespaces"), "", nsServer, fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, api.LabelMonitoredBy)),
		write("have one's own namespace ignored", objects("", "namespaces"), "", nsServer, `{"metadata":{"labels":{"openservicemesh.io/ignore":"true"}}}`),
		write("exempt one's own namespace", objects("", "namespaces"), "", nsServer, `{"metadata":{"annotations":{"openservicemesh.io/sidecar-injection":"disabled"}}}`),
		add("put endpoints into another namespace", objects("discovery.k8s.io", "endpointslices"), nsClient, object("discovery.k8s.io/v1", "EndpointSlice", "mine")),
		add("put a Service into another namespace", objects("", "services"), nsClient, object("v1", "Service", "mine")),
		write("change the sidecar of a pod that runs", objects("", "pods"), nsClient, "any", `{}`),
		attempt{"forward a port of the control plane", func(ctx context.Context, with attacker) error {
			return with.kube.CoreV1().RESTClient().Post().Namespace(api.DefaultNamespace).Resource("pods").Name("any").SubResource("portforward").Do(ctx).Error()
		}},
		attempt{"read the control plane's metrics", func(ctx context.Context, with attacker) error {
			return with.kube.CoreV1().RESTClient().Get().Namespace(api.DefaultNamespace).Resource("services").Name("http:osm-controller:9091").SubResource("proxy").Suffix("metrics").Do(ctx).Error()
		}},
	))
}
