package changes_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/charts"
	"github.com/osm-edge/osm/pkg/cli/changes"
	"github.com/osm-edge/osm/pkg/cli/release"
)

func state(t *testing.T, rendered string, sets ...string) changes.State {
	t.Helper()
	chart, err := release.Load(charts.Files())
	if err != nil {
		t.Fatal(err)
	}
	user, err := release.Layers{Sets: sets}.Merge()
	if err != nil {
		t.Fatal(err)
	}
	return changes.State{Chart: chart, User: user, Rendered: rendered}
}

func compare(t *testing.T, before, after changes.State) changes.Changes {
	t.Helper()
	c, err := changes.Compare(before, after, true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSettings(t *testing.T) {
	tests := []struct {
		name          string
		before, after []string
		want          []changes.Setting
	}{
		{"none", nil, nil, []changes.Setting{}},
		{"set", nil, []string{"osm.enableEgress=false"}, []changes.Setting{{Key: "osm.enableEgress", Old: true, New: false, OldDefault: true}}},
		{"dropped", []string{"osm.enableEgress=false"}, nil, []changes.Setting{{Key: "osm.enableEgress", Old: false, New: true, NewDefault: true}}},
		{"set to the default", nil, []string{"osm.enableEgress=true"}, []changes.Setting{{Key: "osm.enableEgress", Old: true, New: true, OldDefault: true}}},
		{"the name is always set", nil, []string{"osm.meshName=osm"}, []changes.Setting{}},
		{"another name", nil, []string{"osm.meshName=blue"}, []changes.Setting{{Key: "osm.meshName", Old: "osm", New: "blue", OldDefault: true}}},
		{"no default", nil, []string{"osm.osmController.replicaCount=3"}, []changes.Setting{{Key: "osm.osmController.replicaCount", New: 3.0}}},
		{"a list", []string{"osm.outboundPortExclusionList={1,2}"}, []string{"osm.outboundPortExclusionList={1}"},
			[]changes.Setting{{Key: "osm.outboundPortExclusionList", Old: []any{1.0, 2.0}, New: []any{1.0}}}},
		{"a key with a dot", nil, []string{`osm.extra.a\.b/c=d`}, []changes.Setting{{Key: `osm.extra.a\.b/c`, New: "d"}}},
		{"a secret", []string{"osm.vault.token=hunter1"}, []string{"osm.vault.token=hunter2"}, []changes.Setting{{Key: "osm.vault.token", Old: "(hidden 1)", New: "(hidden 2)"}}},
		{"a secret in a list", nil, []string{"osm.extra[0].name=DB_PASSWORD,osm.extra[0].value=hunter2"},
			[]changes.Setting{{Key: "osm.extra", New: []any{map[string]any{"name": "DB_PASSWORD", "value": "(hidden 1)"}}}}},
		{"the name of a Secret", nil, []string{"osm.vault.secret.name=vault-token,osm.vault.secret.key=token"},
			[]changes.Setting{{Key: "osm.vault.secret.key", Old: "", New: "token", OldDefault: true}, {Key: "osm.vault.secret.name", Old: "", New: "vault-token", OldDefault: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := compare(t, state(t, "", tt.before...), state(t, "", tt.after...))
			if diff := cmp.Diff(tt.want, c.Settings); diff != "" {
				t.Errorf("settings differ (-want +got):\n%s", diff)
			}
			if c.Empty() != (len(tt.want) == 0) {
				t.Errorf("Empty = %t with %d settings", c.Empty(), len(c.Settings))
			}
		})
	}
}

func configMap(name, text string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: ns}\ndata: {text: %q}\n", name, text)
}

func TestObjects(t *testing.T) {
	const hook = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: h, namespace: ns, annotations: {helm.sh/hook: pre-upgrade}}\n"
	const role = "---\napiVersion: rbac.authorization.k8s.io/v1beta1\nkind: ClusterRole\nmetadata: {name: r}\n"
	before := configMap("same", "a") + configMap("gone", "a") + configMap("other", "a") + role
	after := configMap("other", "b") + configMap("same", "a") + configMap("more", "a") + hook + strings.ReplaceAll(role, "v1beta1", "v1")
	c := compare(t, state(t, before), state(t, after))
	var got []string
	for _, o := range c.Objects {
		got = append(got, fmt.Sprintf("%s %s %s %s %t", o.Change, o.Kind, o.Namespace, o.Name, o.Hook))
		if o.Diff == "" {
			t.Errorf("%s %s has no diff", o.Kind, o.Name)
		}
	}
	want := []string{"changed ConfigMap ns other false", "added ConfigMap ns more false", "added ServiceAccount ns h true", "changed ClusterRole  r false", "removed ConfigMap ns gone false"}
	if diff := cmp.Diff(want, got); diff != "" || c.Unchanged != 1 {
		t.Errorf("%d unchanged; objects differ (-want +got):\n%s", c.Unchanged, diff)
	}
	if want := "--- installed\n+++ new\n@@ -1,6 +1,6 @@\n apiVersion: v1\n data:\n-  text: a\n+  text: b\n kind: ConfigMap\n metadata:\n   name: other\n"; c.Objects[0].Diff != want {
		t.Errorf("diff:\n%s\nwant:\n%s", c.Objects[0].Diff, want)
	}
}

// Whatever holds a secret, and whether it is added, changed or removed: no output has it, but a change of it is seen.
func TestNoSecrets(t *testing.T) {
	secret := func(field, value string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\n%s: {k: %q}\n", field, value)
	}
	for name, build := range map[string]func(value string) string{
		"data":       func(v string) string { return secret("data", base64.StdEncoding.EncodeToString([]byte(v))) },
		"stringData": func(v string) string { return secret("stringData", v) },
		"environment": func(v string) string {
			return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: s}\nspec: {containers: [{name: c, env: [{name: VAULT_TOKEN, value: %q}]}]}\n", v)
		},
		"private key": func(v string) string {
			return configMap("s", "-----BEGIN PRIVATE KEY-----\n"+v+"\n-----END PRIVATE KEY-----\n")
		},
		"URL": func(v string) string { return configMap("s", "see https://user:"+v+"@host/") },
	} {
		for _, documents := range [][2]string{{"", build("hunter1")}, {build("hunter1"), build("hunter2")}, {build("hunter2"), ""}} {
			c := compare(t, state(t, documents[0]), state(t, documents[1]))
			var text bytes.Buffer
			if err := c.Write(&text); err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, hidden := range []string{"hunter", base64.StdEncoding.EncodeToString([]byte("hunter1"))[:8]} {
				if strings.Contains(text.String()+string(data), hidden) {
					t.Errorf("%s: %q is shown:\n%s", name, hidden, text.String())
				}
			}
			if changed := documents[0] != "" && documents[1] != ""; changed && !strings.Contains(text.String(), "(hidden 2)") {
				t.Errorf("%s: the change is not seen:\n%s", name, text.String())
			}
		}
	}
}

// Neither many nor long lines flood a terminal.
func TestBounds(t *testing.T) {
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "line %d\n", i)
	}
	c := compare(t, state(t, ""), state(t, configMap("many", many.String())+configMap("long", strings.Repeat("x", 100000)), "osm.vault.caBundle="+strings.Repeat("y", 1000)))
	var text bytes.Buffer
	if err := c.Write(&text); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(text.String(), "\n"); lines > 230 || text.Len() > 12000 {
		t.Errorf("%d lines, %d bytes", lines, text.Len())
	}
	for _, want := range []string{"more lines]", "more characters]"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, text.String())
		}
	}
}
