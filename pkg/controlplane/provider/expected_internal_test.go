package provider

import (
	"errors"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/tests/catest"
)

// TestExpectedRoot: what is known of a mesh's roots comes from the webhook of that mesh, and from the status of
// a MeshRootCertificate. Not knowing is not the same as failing to ask.
func TestExpectedRoot(t *testing.T) {
	now := catest.Today()
	first, err := ca.NewRoot(now)
	must(t, err)
	second, err := ca.NewRoot(now)
	must(t, err)
	webhook := func(mesh string, bundle []byte) *admissionv1.MutatingWebhookConfiguration {
		return &admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfigName(mesh)},
			Webhooks:   []admissionv1.MutatingWebhook{{ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle}}},
		}
	}
	installed := rotation.Root{Name: Installation, Role: rotation.Active}
	tests := map[string]struct {
		objects []runtime.Object
		root    rotation.Root
		want    string
	}{
		"no webhook":                         {root: installed},
		"a webhook without a bundle":         {objects: []runtime.Object{webhook("osm", nil)}, root: installed},
		"the webhook of another mesh":        {objects: []runtime.Object{webhook("blue", first.Bundle())}, root: installed},
		"a bundle":                           {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: installed, want: first.Fingerprint()},
		"a bundle of two":                    {objects: []runtime.Object{webhook("osm", append(first.Bundle(), second.Bundle()...))}, root: installed, want: first.Fingerprint() + " " + second.Fingerprint()},
		"an object that signs":               {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: rotation.Root{Name: "next", Role: rotation.Active, Fingerprint: "ab"}, want: "ab"},
		"an object that signs, no status":    {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: rotation.Root{Name: "next", Role: rotation.Active}, want: first.Fingerprint()},
		"a new object":                       {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: rotation.Root{Name: "next", Role: rotation.Passive}},
		"a passive object that is trusted":   {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: rotation.Root{Name: "old", Role: rotation.Passive, Fingerprint: first.Fingerprint()}, want: first.Fingerprint()},
		"a former object, to rotate back to": {objects: []runtime.Object{webhook("osm", first.Bundle())}, root: rotation.Root{Name: "old", Role: rotation.Passive, Fingerprint: second.Fingerprint()}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Client: fake.NewClientset(tt.objects...), Namespace: "osm-system", Mesh: "osm"}
			ask := cfg.expectedOf(tt.root)
			if ask == nil {
				if tt.want != "" {
					t.Errorf("nothing is asked, want %s", tt.want)
				}
				return
			}
			got, where, err := ask(t.Context())
			if err != nil || strings.Join(got, " ") != tt.want || (where == "") && tt.want != "" {
				t.Errorf("got %v in %q (%v), want %s", got, where, err, tt.want)
			}
		})
	}
	client := fake.NewClientset()
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	cfg := Config{Client: client, Mesh: "osm"}
	if got, _, err := cfg.expectedOf(installed)(t.Context()); err == nil || !strings.Contains(err.Error(), "osm-webhook-osm") {
		t.Errorf("got %v (%v), want an error that names the webhook", got, err)
	}
}
