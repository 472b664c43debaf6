package check_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/tests/apitest"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func sound() check.Plan {
	return check.Plan{
		Mesh: "osm", Namespace: "osm-system", EnforceSingle: true, Floor: 2,
		Objects: []check.Object{
			{APIVersion: "v1", Kind: "ServiceAccount", Namespace: "osm-system"},
			{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "osm-system"},
			{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
		},
		OwnerTimeout: 5 * time.Minute, Now: now,
	}
}

func controller(mesh, namespace, enforce string) apitest.Object {
	return apitest.Object{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": apitest.Object{
		"name": "osm-controller", "namespace": namespace,
		"labels": apitest.Object{"app": "osm-controller", "meshName": mesh, "enforceSingleMesh": enforce},
	}}
}

// role is a ClusterRole of the chart that exists, with labels and annotations.
func role(labels, annotations apitest.Object) []apitest.Object {
	return []apitest.Object{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": apitest.Object{
		"name": "osm-controller-osm", "labels": labels, "annotations": annotations,
	}}}
}

func withRole(hook bool) func(*check.Plan) {
	return func(p *check.Plan) {
		p.Objects = append(p.Objects, check.Object{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "osm-controller-osm", Hook: hook})
	}
}

func inRelease(name, namespace string) apitest.Object {
	return apitest.Object{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace}
}

func inMesh(name, namespace string) apitest.Object {
	return apitest.Object{"app.kubernetes.io/instance": name, "openservicemesh.io/mesh-namespace": namespace}
}

// definition is a CRD of the mesh that exists.
func definition(annotations apitest.Object, stored ...any) []apitest.Object {
	return []apitest.Object{{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": apitest.Object{
		"name": "meshconfigs.config.openservicemesh.io", "annotations": annotations,
	}, "spec": apitest.Object{"versions": []any{apitest.Object{"name": "v1alpha2"}}}, "status": apitest.Object{"storedVersions": stored}}}
}

func signedBy(p v1alpha2.ProviderSpec) func(*check.Plan) {
	return func(plan *check.Plan) { plan.Provider = p }
}

var byToken = byVault(v1alpha2.VaultToken("osm-system", "vault-token", "token"))

func token(key string) apitest.Object {
	return apitest.Object{"apiVersion": "v1", "kind": "Secret", "data": apitest.Object{key: "aHZz"}, "metadata": apitest.Object{
		"name": "vault-token", "namespace": "osm-system",
	}}
}

func byVault(token *v1alpha2.VaultTokenSpec) v1alpha2.ProviderSpec {
	return v1alpha2.ProviderSpec{Vault: &v1alpha2.VaultProviderSpec{Host: "vault", Port: 8200, Protocol: "https", Token: token}}
}

func byIssuer(kind string) v1alpha2.ProviderSpec {
	return v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: "osm-ca", IssuerKind: kind, IssuerGroup: "cert-manager.io"}}
}

func issuer(kind, namespace, ready string) apitest.Object {
	object := apitest.Object{"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": apitest.Object{"name": "osm-ca", "namespace": namespace}}
	if ready != "" {
		object["status"] = apitest.Object{"conditions": []any{apitest.Object{"type": "Ready", "status": ready, "message": "secret is gone"}}}
	}
	return object
}

// member is a namespace of a mesh that enforces a Pod Security Standard.
func member(mesh, name, level string) apitest.Object {
	return apitest.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": apitest.Object{
		"name": name, "labels": apitest.Object{"openservicemesh.io/monitored-by": mesh, "pod-security.kubernetes.io/enforce": level},
	}}
}

// Every broken cluster fails exactly the checks that concern the fault.
func TestPreFlight(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		name    string
		cluster apitest.Server
		objects []apitest.Object
		change  func(*check.Plan)
		failed  []string
		warned  []string
		says    string
	}{
		{name: "sound"},
		{name: "old", cluster: apitest.Server{Version: "v1.30.9+k3s1"}, failed: []string{check.KubernetesVersion}, says: "1.31 or newer"},
		{name: "oldest that fits", cluster: apitest.Server{Version: "v1.31.0"}},
		{name: "long name", change: func(p *check.Plan) { p.Mesh = long }, failed: []string{check.MeshName}, says: "at most 53"},
		{name: "name with dot", change: func(p *check.Plan) { p.Mesh = "a.b" }, failed: []string{check.MeshName}, says: "DNS label"},
		{name: "no right", cluster: apitest.Server{Deny: []string{"create clusterroles"}}, failed: []string{check.Permissions}, says: "create clusterroles.rbac.authorization.k8s.io"},
		{name: "no right to keep records", cluster: apitest.Server{Deny: []string{"create secrets"}}, failed: []string{check.Permissions}, says: "create secrets in namespace osm-system"},
		{name: "unknown kind", change: func(p *check.Plan) {
			p.Objects = append(p.Objects, check.Object{APIVersion: "new.io/v1", Kind: "Thing"})
		}, failed: []string{check.Permissions}, says: "does not know Thing"},
		{name: "autoscaling without metrics", change: func(p *check.Plan) { p.Autoscaled = []string{"osm.injector"} }, failed: []string{check.MetricsAPI}, says: "osm.injector.autoScale.enable"},
		{name: "autoscaling with metrics", cluster: apitest.Server{Metrics: true}, change: func(p *check.Plan) { p.Autoscaled = []string{"osm.injector"} }},
		{name: "vault", change: signedBy(byVault(nil)), warned: []string{check.CertProvider}, says: "Vault at https://vault:8200"},
		{name: "vault, no token", change: signedBy(byToken), failed: []string{check.CertProvider}, says: "kubectl create secret generic vault-token -n osm-system --from-file=token=FILE"},
		{name: "vault, other key", objects: []apitest.Object{token("value")}, change: signedBy(byToken), failed: []string{check.CertProvider}, says: `has no key "token"`},
		{name: "vault, token", objects: []apitest.Object{token("token")}, change: signedBy(byToken), warned: []string{check.CertProvider}},
		{name: "no cert-manager", change: signedBy(byIssuer("Issuer")), failed: []string{check.CertProvider}, says: "install cert-manager first"},
		{name: "no issuer", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("ClusterIssuer", "", "True")}, change: signedBy(byIssuer("Issuer")), failed: []string{check.CertProvider}, says: `there is no Issuer "osm-ca" in namespace osm-system`},
		{name: "issuer elsewhere", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("Issuer", "cert-manager", "True")}, change: signedBy(byIssuer("Issuer")), failed: []string{check.CertProvider}, says: "there is no Issuer"},
		{name: "issuer not ready", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("Issuer", "osm-system", "False")}, change: signedBy(byIssuer("Issuer")), failed: []string{check.CertProvider}, says: "is not ready: secret is gone; fix it"},
		{name: "issuer without status", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("Issuer", "osm-system", "")}, change: signedBy(byIssuer("Issuer")), failed: []string{check.CertProvider}, says: "does not report yet"},
		{name: "issuer", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("Issuer", "osm-system", "True")}, change: signedBy(byIssuer("Issuer"))},
		{name: "cluster issuer", cluster: apitest.Server{CertManager: true}, objects: []apitest.Object{issuer("ClusterIssuer", "", "True")}, change: signedBy(byIssuer("ClusterIssuer"))},
		{name: "external issuer", cluster: apitest.Server{CertManager: true}, change: signedBy(v1alpha2.ProviderSpec{CertManager: &v1alpha2.CertManagerProviderSpec{IssuerName: "a", IssuerKind: "StepIssuer", IssuerGroup: "step.sm"}}), warned: []string{check.CertProvider}, says: "StepIssuer.step.sm"},
		{name: "role of this release", objects: role(nil, inRelease("osm", "osm-system")), change: withRole(false)},
		{name: "role of this mesh's hook", objects: role(inMesh("osm", "osm-system"), nil), change: withRole(true)},
		{name: "role of another namespace's release", objects: role(nil, inRelease("osm", "b")), change: withRole(false), failed: []string{check.Owners}, says: "ClusterRole osm-controller-osm belongs to Helm release b/osm"},
		{name: "role of another release", objects: role(nil, inRelease("web", "osm-system")), change: withRole(false), failed: []string{check.Owners}, says: "belongs to Helm release osm-system/web"},
		{name: "role of another namespace's hook", objects: role(inMesh("osm", "b"), nil), change: withRole(true), failed: []string{check.Owners}, says: "belongs to mesh [osm] in namespace [b]"},
		{name: "role whose label and annotation disagree", objects: role(inMesh("osm", "b"), inRelease("osm", "osm-system")), change: withRole(false), failed: []string{check.Owners}, says: "belongs to mesh [osm] in namespace [b]"},
		{name: "role of nobody", objects: role(nil, nil), change: withRole(false), failed: []string{check.Owners}, says: "exists and belongs to no Helm release"},
		{name: "role of nobody, hook", objects: role(nil, nil), change: withRole(true)},
		{name: "osm's CRD", objects: definition(apitest.Object{"openservicemesh.io/owner": "osm-bootstrap"}, "v1alpha2")},
		{name: "osm's CRD, newer objects", objects: definition(apitest.Object{"openservicemesh.io/owner": "osm-bootstrap"}, "v1alpha2", "v1"), failed: []string{check.Definitions}, says: "may hold objects in version v1, which this osm does not know; use an osm that is at least as new"},
		{name: "another's CRD", objects: definition(inRelease("osm-edge", "edge"), "v1alpha2"), failed: []string{check.Definitions}, says: "was installed by Helm release edge/osm-edge"},
		{name: "another's CRD, hooks do not run", objects: definition(inRelease("osm-edge", "edge"), "v1alpha2"), change: func(p *check.Plan) { p.SkipHooks = true }},
		{name: "owner of the CRDs unknown", cluster: apitest.Server{Refuse: []string{"GET customresourcedefinitions"}}, warned: []string{check.Definitions}, says: "the install hook checks it again"},
		{name: "few nodes", change: func(p *check.Plan) { p.Floor = 4 }, warned: []string{check.NodeCount}, says: "3 schedulable node(s) for 4 replicas"},
		{name: "same mesh", objects: []apitest.Object{controller("osm", "elsewhere", "false")}, failed: []string{check.ExistingMeshes}, says: "already exists in namespace [elsewhere]"},
		{name: "same namespace", objects: []apitest.Object{controller("red", "osm-system", "false")}, failed: []string{check.ExistingMeshes}, says: "already contains mesh [red]"},
		{name: "other enforces", objects: []apitest.Object{controller("red", "r", "true")}, change: func(p *check.Plan) { p.EnforceSingle = false }, failed: []string{check.ExistingMeshes}, says: "enforces that it is the only mesh"},
		{name: "this one enforces", objects: []apitest.Object{controller("red", "r", "false")}, failed: []string{check.ExistingMeshes}, says: "meshes [red] exist"},
		{name: "nobody enforces", objects: []apitest.Object{controller("red", "r", "false")}, change: func(p *check.Plan) { p.EnforceSingle = false }},
		{name: "upgrade of itself", objects: []apitest.Object{controller("osm", "osm-system", "true")}, change: func(p *check.Plan) {
			p.Upgrade, p.Release = true, &check.Release{Status: "deployed", EverDeployed: true}
		}},
		{name: "upgrade with members that refuse sidecars", objects: []apitest.Object{
			controller("osm", "osm-system", "true"), member("osm", "shop", "baseline"), member("osm", "till", "privileged"), member("blue", "bank", "restricted"),
		}, change: func(p *check.Plan) {
			p.Upgrade, p.Release = true, &check.Release{Status: "deployed", EverDeployed: true}
		}, warned: []string{check.PodSecurityLevel}, says: "namespace [shop] enforces the Pod Security Standard baseline"},
		{name: "upgrade of nothing", change: func(p *check.Plan) { p.Upgrade = true }, failed: []string{check.ReleaseState}, says: "there is no mesh"},
		{name: "failed before", change: func(p *check.Plan) { p.Release = &check.Release{Status: "failed"} }, failed: []string{check.ReleaseState}, says: "--recover"},
		{name: "failed before, recover", change: func(p *check.Plan) {
			p.Release, p.Recover = &check.Release{Status: "failed"}, true
		}},
		{name: "at work", change: func(p *check.Plan) {
			p.Recover, p.Release = true, &check.Release{Status: "pending-install", Pending: true, Since: now.Add(-time.Minute)}
		}, failed: []string{check.ReleaseState}, says: "in 4m0s"},
		{name: "stuck", change: func(p *check.Plan) {
			p.Release = &check.Release{Status: "pending-upgrade", Pending: true, EverDeployed: true, Since: now.Add(-time.Hour)}
		}, failed: []string{check.ReleaseState}, says: "stuck in pending-upgrade for 1h0m0s"},
		{name: "stuck, recover", change: func(p *check.Plan) {
			p.Recover, p.Release = true, &check.Release{Status: "pending-upgrade", Pending: true, EverDeployed: true, Since: now.Add(-time.Hour)}
		}},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			plan := sound()
			if tt.change != nil {
				tt.change(&plan)
			}
			tt.cluster.Start()
			defer tt.cluster.Close()
			tt.cluster.Apply(tt.objects...)
			tt.cluster.Forget()
			results := check.Run(t.Context(), check.PreFlight(connect(t, &tt.cluster), plan), nil)
			if failed := ids(results, check.Failed); !slices.Equal(failed, tt.failed) {
				t.Errorf("failed %v, want %v: %+v", failed, tt.failed, results)
			}
			if warned := ids(results, check.Warned); !slices.Equal(warned, tt.warned) {
				t.Errorf("warned %v, want %v", warned, tt.warned)
			}
			if !slices.ContainsFunc(results, func(r check.Result) bool { return strings.Contains(r.Message, tt.says) }) {
				t.Errorf("no message says %q: %+v", tt.says, results)
			}
			if writes := tt.cluster.Writes(); len(writes) > 0 {
				t.Errorf("checks wrote %v", writes)
			}
		})
	}
}

// An unreachable cluster fails one check; those after it are skipped, not passed.
func TestUnreachable(t *testing.T) {
	var server apitest.Server
	server.Start()
	clients := connect(t, &server)
	server.Close()
	results := check.Run(t.Context(), check.PreFlight(clients, sound()), nil)
	if failed := ids(results, check.Failed); !slices.Equal(failed, []string{check.APIReachable}) {
		t.Errorf("failed %v", failed)
	}
	if skipped := ids(results, check.Skipped); len(skipped) != 10 {
		t.Errorf("skipped %v, want the ten checks after it", skipped)
	}
	var failure *check.FailedError
	if err := check.Err(results); !errors.As(err, &failure) || len(failure.Results) != 1 {
		t.Errorf("Err = %v", err)
	}
}

func ids(results []check.Result, status check.Status) []string {
	var out []string
	for _, result := range results {
		if result.Status == status {
			out = append(out, result.ID)
		}
	}
	return out
}

func connect(t *testing.T, server *apitest.Server) *cluster.Clients {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	url := server.URL()
	flags.APIServer = &url
	clients, err := cluster.NewClients(flags)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}
