package charts_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// pemBundle looks like CA certificates.
const pemBundle = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

// Values of a provider that cannot work are refused, with the key and a fix.
func TestProviderValuesAreRefused(t *testing.T) {
	vault := func(more values) values {
		return merge(values{"osm": values{"certificateProvider": values{"kind": "vault"}, "vault": values{"host": "vault", "caBundle": pemBundle}}},
			values{"osm": values{"vault": more}})
	}
	certManager := func(more values) values {
		return values{"osm": values{"certificateProvider": values{"kind": "cert-manager"}, "certmanager": more}}
	}
	for name, test := range map[string]struct {
		given     values
		key, says string
	}{
		"no host":            {vault(values{"host": ""}), "osm.vault.host", "--set osm.vault.host="},
		"host with scheme":   {vault(values{"host": "https://vault"}), "osm.vault.host", "without https://"},
		"host with port":     {vault(values{"host": "vault:8200"}), "osm.vault.host", "without https://"},
		"port":               {vault(values{"port": 0}), "osm.vault.port", "from 1 to 65535"},
		"protocol":           {vault(values{"protocol": "tls"}), "osm.vault.protocol", "'https', 'http'"},
		"https, no bundle":   {vault(values{"caBundle": ""}), "osm.vault.caBundle", "no CA certificates"},
		"http, bundle":       {vault(values{"protocol": "http"}), "osm.vault.caBundle", "--set osm.vault.protocol=https"},
		"bundle, no PEM":     {vault(values{"caBundle": "ca.pem"}), "osm.vault.caBundle", "as PEM"},
		"bundle with a key":  {vault(values{"caBundle": pemBundle + "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"}), "osm.vault.caBundle", "nothing else"},
		"mount":              {vault(values{"mount": "/pki"}), "osm.vault.mount", "a path inside Vault"},
		"no role":            {vault(values{"role": ""}), "osm.vault.role", "a path inside Vault"},
		"secret, no key":     {vault(values{"secret": values{"name": "token"}}), "osm.vault.secret.key", "--set osm.vault.secret.key=token"},
		"key, no secret":     {vault(values{"secret": values{"key": "token"}}), "osm.vault.secret.name", "--set osm.vault.secret.name="},
		"secret and login":   {vault(values{"secret": values{"name": "a", "key": "b"}, "login": values{"role": "c"}}), "osm.vault.secret.name", "osm.vault.login.role"},
		"allowed, no port":   {vault(values{"allowedHosts": []any{"vault"}}), "osm.vault.allowedHosts.0", "HOST:PORT"},
		"allowed, a URL":     {vault(values{"allowedHosts": []any{"https://vault:8200"}}), "osm.vault.allowedHosts.0", "HOST:PORT"},
		"no audience":        {vault(values{"login": values{"audience": ""}}), "osm.vault.login.audience", "an audience for Vault alone"},
		"the API's audience": {vault(values{"login": values{"audience": "https://kubernetes.default.svc"}}), "osm.vault.login.audience", "never one of the API server"},
		"nobody allowed":     {set(t, "osm.certificateProvider.additionalKinds={vault},osm.vault.protocol=http"), "osm.vault.allowedHosts", "--set osm.vault.host="},
		"vault, kind tresor": {values{"osm": values{"vault": values{"host": "vault"}}}, "osm.vault.host", "--set osm.certificateProvider.kind=vault"},
		"inline token":       {vault(values{"token": "hvs.secret"}), "osm.vault.token", "set osm.vault.secret.name and osm.vault.secret.key"},
		"no issuer":          {certManager(values{"issuerName": ""}), "osm.certmanager.issuerName", "a lower-case DNS name"},
		"issuer kind":        {certManager(values{"issuerKind": "StepIssuer"}), "osm.certmanager.issuerKind", "osm.certmanager.issuerGroup"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, test.given)
			wantRefusal(t, err, test.key, test.says)
			if err != nil && strings.Contains(err.Error(), "hvs.secret") {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

// The controller contacts the provider, and has exactly the rights that it needs. The injector has none of them.
func TestProviders(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		volumes []string
		rules   []string // on Secrets and cert-manager's objects, in the mesh's namespace
		cluster []string // the same, in the whole cluster
	}{
		"default": {
			args:  []string{"--certificate-provider=tresor"},
			rules: []string{"secrets create []", "secrets get,list,watch [osm-ca-bundle,osm-ca-bundle-next]"},
		},
		"vault": {
			args: []string{
				"--certificate-provider=vault", "--vault-address=https://vault.vault.svc:8200", "--vault-mount=team/pki", "--vault-role=mesh",
				"--vault-namespace=platform", "--vault-login-mount=jwt", "--vault-login-role=osm", "--vault-ca-file=/etc/osm/vault-ca/ca.crt",
			},
			volumes: []string{"vault-ca", "vault-login"},
		},
		"vault-token": {
			args: []string{
				"--certificate-provider=vault", "--vault-address=http://[::1]:8100", "--vault-allow-http", "--vault-mount=pki", "--vault-role=openservicemesh",
				"--vault-token-file=/etc/osm/vault-token/token", "--vault-token-secret=osm-vault-token/value",
			},
			volumes: []string{"vault-token"},
		},
		"cert-manager": {
			args: []string{
				"--certificate-provider=cert-manager", "--cert-manager-issuer=company-ca", "--cert-manager-issuer-kind=ClusterIssuer",
				"--cert-manager-issuer-group=cert-manager.io",
			},
			rules:   []string{"certificaterequests create,get,list,watch,delete []"},
			cluster: []string{"clusterissuers get [company-ca]"},
		},
		"rotation": {
			args: []string{
				"--certificate-provider=tresor", "--additional-certificate-providers=vault,cert-manager",
				"--vault-allowed-hosts=vault.vault.svc:8200,vault-2.vault.svc:8200", "--vault-mount=pki", "--vault-role=openservicemesh",
				"--vault-login-mount=kubernetes", "--vault-login-role=openservicemesh", "--vault-ca-file=/etc/osm/vault-ca/ca.crt",
				"--cert-manager-issuer=osm-ca", "--cert-manager-issuer-kind=Issuer", "--cert-manager-issuer-group=cert-manager.io",
			},
			volumes: []string{"vault-ca", "vault-login"},
			rules: []string{
				"secrets create []", "secrets get,list,watch [osm-ca-bundle,osm-ca-bundle-next]",
				"certificaterequests create,get,list,watch,delete []", "issuers get [osm-ca]",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, fromFile(t, "testdata/"+name+".values.yaml"))
			pod := must[*appsv1.Deployment](t, all, "osm-controller").Spec.Template.Spec
			equal(t, "arguments", providerArgs(pod.Containers[0].Args), test.args)
			var volumes, mounts []string
			for _, volume := range pod.Volumes {
				volumes = append(volumes, volume.Name)
			}
			for _, mount := range pod.Containers[0].VolumeMounts {
				mounts = append(mounts, mount.Name)
			}
			equal(t, "volumes", volumes, test.volumes)
			equal(t, "mounts", mounts, test.volumes)
			equal(t, "rules", providerRules(must[*rbacv1.Role](t, all, "osm-controller").Rules), test.rules)
			inCluster := providerRules(must[*rbacv1.ClusterRole](t, all, "osm-controller-osm").Rules)
			inCluster = slices.DeleteFunc(inCluster, func(rule string) bool { return rule == "secrets create,patch,delete []" })
			equal(t, "cluster rules", inCluster, test.cluster)
			injector := must[*appsv1.Deployment](t, all, "osm-injector").Spec.Template.Spec
			if args := providerArgs(injector.Containers[0].Args); len(args)+len(injector.Volumes)+len(injector.Containers[0].VolumeMounts) > 0 {
				t.Errorf("the injector has %v, volumes %v", args, injector.Volumes)
			}
			equal(t, "the injector's rules", providerRules(must[*rbacv1.Role](t, all, "osm-injector").Rules), []string{"secrets list,watch [osm-injector-certificate]"})
			equal(t, "the injector's cluster rules", providerRules(must[*rbacv1.ClusterRole](t, all, "osm-injector-osm").Rules), nil)
			if config, ok := find[*corev1.ConfigMap](all, "osm-vault-ca"); ok != slices.Contains(test.volumes, "vault-ca") {
				t.Errorf("the ConfigMap with Vault's CA was rendered %t: %v", ok, config)
			}
		})
	}
}

// An Issuer is read by name in its scope; an external issuer is never read.
func TestIssuerRights(t *testing.T) {
	for given, want := range map[string]string{
		"osm.certificateProvider.kind=cert-manager": "issuers get [osm-ca]",
		"osm.certificateProvider.kind=cert-manager,osm.certmanager.issuerKind=StepIssuer,osm.certmanager.issuerGroup=certmanager.step.sm": "",
	} {
		all := objects(t, set(t, given))
		rules := providerRules(must[*rbacv1.Role](t, all, "osm-controller").Rules)
		if want != "" != slices.Contains(rules, want) || want == "" && len(rules) != 1 {
			t.Errorf("%s: rules %v, want %q", given, rules, want)
		}
	}
}

// The token for Vault has its own audience, so the API server does not accept it.
func TestVaultLoginToken(t *testing.T) {
	for given, want := range map[string]string{"": "vault", "osm.vault.login.audience=https://vault.example": "https://vault.example"} {
		all := objects(t, merge(fromFile(t, "testdata/vault.values.yaml"), set(t, given)))
		pod := must[*appsv1.Deployment](t, all, "osm-controller").Spec.Template.Spec
		i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "vault-login" })
		if i < 0 || pod.Volumes[i].Projected == nil || len(pod.Volumes[i].Projected.Sources) != 1 {
			t.Fatalf("volumes %+v", pod.Volumes)
		}
		if token := pod.Volumes[i].Projected.Sources[0].ServiceAccountToken; token == nil || token.Audience != want || token.Path != "token" {
			t.Errorf("token %+v, want audience %s", token, want)
		}
		if mount := pod.Containers[0].VolumeMounts[i]; mount.MountPath != "/etc/osm/vault-login" {
			t.Errorf("mounted at %s", mount.MountPath)
		}
	}
}

// Pods read the bundle once: a new bundle needs new pods.
func TestVaultBundleReplacesPods(t *testing.T) {
	annotation := func(bundle string) string {
		given := fromFile(t, "testdata/vault.values.yaml")
		all := objects(t, merge(given, nest("osm.vault.caBundle", bundle)))
		return must[*appsv1.Deployment](t, all, "osm-controller").Spec.Template.Annotations["openservicemesh.io/vault-ca"]
	}
	if one, two := annotation(pemBundle), annotation(pemBundle+pemBundle); one == "" || one == two {
		t.Errorf("annotations %q and %q, want different ones", one, two)
	}
}

func providerArgs(args []string) []string {
	var found []string
	for _, arg := range args {
		if strings.Contains(arg, "certificate-provider") || strings.HasPrefix(arg, "--vault-") || strings.HasPrefix(arg, "--cert-manager-") {
			found = append(found, arg)
		}
	}
	return found
}

// providerRules are the rules that depend on the provider, as text.
func providerRules(rules []rbacv1.PolicyRule) []string {
	var found []string
	for _, rule := range rules {
		if slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.APIGroups, "cert-manager.io") {
			found = append(found, strings.Join(rule.Resources, ",")+" "+strings.Join(rule.Verbs, ",")+" ["+strings.Join(rule.ResourceNames, ",")+"]")
		}
	}
	return found
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
