package rights

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

const controller = "system:serviceaccount:osm-system:osm-controller"

func rule(groups, resources, names, verbs string) rbacv1.PolicyRule {
	list := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ",")
	}
	return rbacv1.PolicyRule{APIGroups: strings.Split(groups, ","), Resources: list(resources), ResourceNames: list(names), Verbs: list(verbs)}
}

func TestOfSplitsRules(t *testing.T) {
	got := Of(controller, "osm-system", []rbacv1.PolicyRule{rule(",apps", "a,b/status", "", "get"), rule("", "secrets", "one,two", "get,patch")})
	var lines []string
	for _, right := range got {
		lines = append(lines, right.String())
	}
	want := []string{
		"get a", "get b/status", "get a.apps", "get b/status.apps",
		"get secrets one", "get secrets two", "patch secrets one", "patch secrets two",
	}
	for i := range want {
		want[i] = controller + " may " + want[i] + " in namespace osm-system"
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestCompare(t *testing.T) {
	everywhere := func(verb, resource, name string) Right {
		return Right{User: controller, Verb: verb, Resource: resource, Name: name}
	}
	inside := everywhere("get", "secrets", "")
	inside.Namespace = "osm-system"
	ask := func(verb, resource, namespace, name string) Request {
		return Request{User: controller, Verb: verb, Resource: resource, Namespace: namespace, Name: name}
	}
	forbidden := ask("get", "nodes", "", "")
	forbidden.Refused = true
	stranger := forbidden
	stranger.User = "system:serviceaccount:other:osm-controller"
	refusedUse := ask("get", "secrets", "shop", "x")
	refusedUse.Refused = true
	for _, test := range []struct {
		name    string
		right   Right
		asked   []Request
		used    bool
		refused int
	}{
		{"not requested", everywhere("list", "pods", ""), nil, false, 0},
		{"asked for the cluster", everywhere("list", "pods", ""), []Request{ask("list", "pods", "", "")}, true, 0},
		{"asked for another namespace", everywhere("list", "pods", ""), []Request{ask("list", "pods", "shop", "")}, true, 0},
		{"a Role would do", everywhere("list", "pods", ""), []Request{ask("list", "pods", "osm-system", "")}, false, 0},
		{"another verb", everywhere("list", "pods", ""), []Request{ask("watch", "pods", "", "")}, false, 0},
		{"a subresource", everywhere("get", "pods", ""), []Request{ask("get", "pods/log", "shop", "x")}, false, 0},
		{"its object", everywhere("get", "webhooks", "mine"), []Request{ask("get", "webhooks", "", "mine")}, true, 0},
		{"another object", everywhere("get", "webhooks", "mine"), []Request{ask("get", "webhooks", "", "other")}, false, 0},
		{"in its namespace", inside, []Request{ask("get", "secrets", "osm-system", "x")}, true, 0},
		{"in another namespace", inside, []Request{ask("get", "secrets", "shop", "x")}, false, 0},
		{"refused", everywhere("get", "secrets", ""), []Request{refusedUse}, false, 1},
		{"refused twice", everywhere("list", "pods", ""), []Request{forbidden, ask("list", "pods", "", ""), forbidden}, true, 1},
		{"another account", everywhere("get", "nodes", ""), []Request{stranger}, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Compare([]Right{test.right, test.right}, test.asked)
			if used := len(got.Unused) == 0; used != test.used || len(got.Unused) > 1 || len(got.Refused) != test.refused {
				t.Errorf("unused %v, refused %v; want it used: %t, and %d refused", got.Unused, got.Refused, test.used, test.refused)
			}
		})
	}
}

func TestRead(t *testing.T) {
	line := func(second int, object, code string) string {
		return fmt.Sprintf(`{"kind":"Event","verb":"patch","user":{"username":%q},"userAgent":"osm","requestReceivedTimestamp":"2026-01-01T00:00:%02d.000000Z"%s%s}`+"\n", controller, second, object, code)
	}
	const (
		status = `,"objectRef":{"resource":"roots","subresource":"status","namespace":"osm-system","name":"a","apiGroup":"config"}`
		denied = `,"responseStatus":{"code":403}`
		made   = `,"responseStatus":{"code":201}`
		fine   = `,"responseStatus":{"code":200}`
	)
	const ending = `,"responseStatus":{"code":403,"details":{"causes":[{"reason":"NamespaceTerminating"}]}}`
	log := line(1, status, fine) + line(2, status, fine) + line(3, "", fine) + line(4, status, denied) + line(5, status, ending) + line(6, status, made)
	want := Request{User: controller, Agent: "osm", Verb: "patch", Group: "config", Resource: "roots/status", Namespace: "osm-system", Name: "a"}
	byApply := want
	byApply.Verb = "create"
	refused := want
	refused.Refused = true
	got, err := Read(strings.NewReader(log+`{"kind":"Eve`), time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC))
	if diff := cmp.Diff([]Request{want, refused, want, want, byApply}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := Read(strings.NewReader("nonsense\n"), time.Time{}); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("an invalid log was accepted: %v", err)
	}
}
