package charts_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

const (
	controllerUser = "system:serviceaccount:osm-system:osm-controller"
	servingSecret  = "osm-injector-certificate"
	tlsType        = "kubernetes.io/tls"
)

// secret is a Secret as an expression sees it; meshLabel "" leaves the labels out.
func secret(name, kind, meshLabel string) map[string]any {
	metadata := map[string]any{"name": name}
	if meshLabel != "" {
		metadata["labels"] = map[string]any{"openservicemesh.io/proxy-certificate": meshLabel}
	}
	return map[string]any{"metadata": metadata, "type": kind}
}

// serving is the Secret with the injectors' certificate as an expression sees it.
func serving(name, kind, meshLabel string) map[string]any {
	object := secret(name, kind, "")
	if meshLabel != "" {
		object["metadata"].(map[string]any)["labels"] = map[string]any{"openservicemesh.io/injector-certificate": meshLabel}
	}
	return object
}

// The effect of the controller's cluster-wide verbs on Secrets after the policy.
func TestSecretPolicyFencesTheController(t *testing.T) {
	ours := secret("osm-proxy-bookbuyer", tlsType, "osm")
	foreign := secret("db-password", "Opaque", "")
	nameless := secret("", tlsType, "osm")
	delete(nameless["metadata"].(map[string]any), "name")
	fence := newFence(t, "osm-proxy-secrets-osm")
	for _, test := range []struct {
		name             string
		user, namespace  string
		object, existing map[string]any // nil: none, as on DELETE and CREATE
		want             bool
	}{
		{"create ours", controllerUser, "shop", ours, nil, true},
		{"update ours", controllerUser, "shop", ours, ours, true},
		{"delete ours", controllerUser, "shop", nil, ours, true},
		{"create foreign name", controllerUser, "shop", secret("db-password", tlsType, "osm"), nil, false},
		{"create a name of the mesh's own", controllerUser, "shop", secret("osm-ca-bundle", tlsType, "osm"), nil, false},
		{"create service account token", controllerUser, "shop", secret("osm-proxy-x", "kubernetes.io/service-account-token", "osm"), nil, false},
		{"create without label", controllerUser, "shop", secret("osm-proxy-x", tlsType, ""), nil, false},
		{"create for another mesh", controllerUser, "shop", secret("osm-proxy-x", tlsType, "other"), nil, false},
		{"create with a generated name", controllerUser, "shop", nameless, nil, false},
		{"touch foreign", controllerUser, "shop", foreign, foreign, false},
		{"delete foreign", controllerUser, "shop", nil, foreign, false},
		{"grab by labelling", controllerUser, "shop", ours, secret("osm-proxy-bookbuyer", tlsType, ""), false},
		{"grab another mesh's", controllerUser, "shop", ours, secret("osm-proxy-bookbuyer", tlsType, "other"), false},
		{"delete unlabelled", controllerUser, "shop", nil, secret("osm-proxy-bookbuyer", tlsType, ""), false},
		{"take the label off", controllerUser, "shop", secret("osm-proxy-bookbuyer", tlsType, ""), ours, false},
		{"create the root CA", controllerUser, releaseNamespace, secret("osm-ca-bundle", "Opaque", ""), nil, true},
		{"create the next root CA", controllerUser, releaseNamespace, secret("osm-ca-bundle-next", "Opaque", ""), nil, true},
		{"create the webhook's certificate", controllerUser, releaseNamespace, serving(servingSecret, tlsType, "osm"), nil, true},
		{"renew the webhook's certificate", controllerUser, releaseNamespace, serving(servingSecret, tlsType, "osm"), serving(servingSecret, tlsType, "osm"), true},
		{"delete the webhook's certificate", controllerUser, releaseNamespace, nil, serving(servingSecret, tlsType, "osm"), false},
		{"grab a Secret of the webhook's name", controllerUser, releaseNamespace, serving(servingSecret, tlsType, "osm"), serving(servingSecret, tlsType, ""), false},
		{"another mesh's webhook", controllerUser, releaseNamespace, serving(servingSecret, tlsType, "other"), nil, false},
		{"take the webhook's label off", controllerUser, releaseNamespace, serving(servingSecret, tlsType, ""), serving(servingSecret, tlsType, "osm"), false},
		{"the webhook's name, another type", controllerUser, releaseNamespace, serving(servingSecret, "kubernetes.io/service-account-token", "osm"), nil, false},
		{"the webhook's label, another name", controllerUser, releaseNamespace, serving("osm-proxy-x", tlsType, "osm"), nil, false},
		{"the webhook's certificate elsewhere", controllerUser, "shop", serving(servingSecret, tlsType, "osm"), nil, false},
		{"create the root CA elsewhere", controllerUser, "shop", secret("osm-ca-bundle", "Opaque", ""), nil, false},
		{"create a token by the root CA's name", controllerUser, releaseNamespace, secret("osm-ca-bundle", "kubernetes.io/service-account-token", ""), nil, false},
		{"create a token in the own namespace", controllerUser, releaseNamespace, secret("osm-proxy-x", "kubernetes.io/service-account-token", "osm"), nil, false},
		{"create a release", controllerUser, releaseNamespace, secret("sh.helm.release.v1.osm.v2", "helm.sh/release.v1", ""), nil, false},
		{"touch a release", controllerUser, releaseNamespace, secret("sh.helm.release.v1.osm.v1", "helm.sh/release.v1", ""), secret("sh.helm.release.v1.osm.v1", "helm.sh/release.v1", ""), false},
		{"delete a release", controllerUser, releaseNamespace, nil, secret("sh.helm.release.v1.osm.v1", "helm.sh/release.v1", ""), false},
		{"change the root CA", controllerUser, releaseNamespace, secret("osm-ca-bundle", "Opaque", ""), secret("osm-ca-bundle", "Opaque", ""), false},
		{"somebody else", "alice", "shop", foreign, foreign, true},
		{"same name elsewhere", "system:serviceaccount:other:osm-controller", "shop", foreign, foreign, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := fence.admits(t, map[string]any{
				"object": orNone(test.object), "oldObject": orNone(test.existing),
				"request": map[string]any{"namespace": test.namespace, "userInfo": map[string]any{"username": test.user}},
			})
			if got != test.want {
				t.Errorf("admitted %t, want %t", got, test.want)
			}
		})
	}
}

// The webhook's policy compares every field of the API type, so that a field which a later Kubernetes adds
// fails this test when its types arrive here.
func TestWebhookPolicyComparesEveryField(t *testing.T) {
	policy := must[*admissionv1.ValidatingAdmissionPolicy](t, objects(t, values{}), "osm-webhook-bundle-osm")
	var text strings.Builder
	for _, validation := range policy.Spec.Validations {
		text.WriteString(strings.Join(strings.Fields(validation.Expression), " ") + "\n")
	}
	for _, kind := range []struct {
		of            any
		before, after string
		except        []string
	}{
		{admissionv1.MutatingWebhook{}, "before", "after", []string{"name", "clientConfig"}},
		{admissionv1.WebhookClientConfig{}, "before.clientConfig", "after.clientConfig", []string{"caBundle"}},
	} {
		of := reflect.TypeOf(kind.of)
		for i := range of.NumField() {
			field, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			compared := strings.Contains(text.String(), fmt.Sprintf("%s.?%s == %s.?%s", kind.after, field, kind.before, field))
			if compared == slices.Contains(kind.except, field) {
				t.Errorf("%s.%s: compared %t", of.Name(), field, compared)
			}
		}
	}
}

// orNone turns a missing object into the null that an expression compares with.
func orNone(object map[string]any) any {
	if object == nil {
		return nil
	}
	return object
}

// fence is the rendered policy, compiled in the language of the oldest supported Kubernetes.
type fence struct{ conditions, validations []cel.Program }

func newFence(t *testing.T, name string) fence {
	t.Helper()
	all := objects(t, values{})
	policy := must[*admissionv1.ValidatingAdmissionPolicy](t, all, name)
	binding := must[*admissionv1.ValidatingAdmissionPolicyBinding](t, all, policy.Name)
	if *policy.Spec.FailurePolicy != admissionv1.Fail {
		t.Fatalf("failure policy is %s", *policy.Spec.FailurePolicy)
	}
	if binding.Spec.PolicyName != policy.Name || fmt.Sprint(binding.Spec.ValidationActions) != "[Deny]" || binding.Spec.MatchResources != nil {
		t.Fatalf("binding %+v does not deny everywhere", binding.Spec)
	}
	base, err := environment.MustBaseEnvSet(version.MajorMinor(1, 31)).Env(environment.NewExpressions)
	if err != nil {
		t.Fatal(err)
	}
	env, err := base.Extend(cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	var compiled fence
	for _, condition := range policy.Spec.MatchConditions {
		compiled.conditions = append(compiled.conditions, compile(t, env, condition.Expression))
	}
	for _, validation := range policy.Spec.Validations {
		if strings.Contains(validation.Message, "\n") {
			t.Errorf("the API refuses line breaks in the message %q", validation.Message)
		}
		compiled.validations = append(compiled.validations, compile(t, env, validation.Expression))
	}
	return compiled
}

func compile(t *testing.T, env *cel.Env, expression string) cel.Program {
	t.Helper()
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("compiling %s: %v", expression, issues.Err())
	}
	program, err := env.Program(checked)
	if err != nil {
		t.Fatalf("planning %s: %v", expression, err)
	}
	return program
}

// admits works like the API server: the policy applies if all match conditions hold; then all validations must hold, and
// a failed evaluation refuses.
func (f fence) admits(t *testing.T, variables map[string]any) bool {
	t.Helper()
	for _, condition := range f.conditions {
		result, _, err := condition.Eval(variables)
		if err != nil {
			t.Fatalf("evaluating a match condition: %v", err)
		}
		if result.Value() != true {
			return true
		}
	}
	for _, validation := range f.validations {
		result, _, err := validation.Eval(variables)
		if err != nil || result.Value() != true {
			return false
		}
	}
	return true
}
