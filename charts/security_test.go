package charts_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// docs/security.md must list every right, port and limit that the chart gives each component.

// securityTable returns the cells of the table below a heading of docs/security.md. An empty first cell repeats the
// one above it.
func securityTable(t *testing.T, heading string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("docs/security.md has no heading %q", heading)
	}
	var rows [][]string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			break
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] == "" && len(rows) > 0 {
			cells[0] = rows[len(rows)-1][0]
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("the table %q of docs/security.md has %d rows", heading, len(rows))
	}
	return rows
}

func TestSecurityPageNamesEveryRight(t *testing.T) {
	parts := map[string]string{"osm-controller": "controller", "osm-injector": "injector", "osm-bootstrap": "install hook"}
	rows := securityTable(t, "Rights")
	for _, given := range []values{{}, fromFile(t, "testdata/cert-manager.values.yaml"), fromFile(t, "testdata/rotation.values.yaml")} {
		for where, rules := range map[string]map[string][]rbacv1.PolicyRule{"cluster": rulesOf(t, given, true), "mesh's namespace": rulesOf(t, given, false)} {
			for account, all := range rules {
				for _, rule := range all {
					for _, resource := range rule.Resources {
						for _, verb := range rule.Verbs {
							if !slices.ContainsFunc(rows, func(row []string) bool { return names(row, parts[account], where, resource, verb) }) {
								t.Errorf("docs/security.md does not say under Rights that the %s may %s %s (%s)", parts[account], verb, resource, where)
							}
						}
					}
				}
			}
		}
	}
}

// names reports whether a row of the table of rights lists this one.
func names(row []string, part, where, resource, verb string) bool {
	words := strings.FieldsFunc(row[2], func(r rune) bool { return strings.ContainsRune(" ,;`()", r) })
	resource, _, _ = strings.Cut(resource, "/")
	resources := slices.ContainsFunc(words, func(word string) bool { return word == resource || strings.HasPrefix(word, resource+"/") })
	return row[0] == part && strings.HasPrefix(row[1], where) && resources && slices.Contains(words, verb)
}

// rulesOf returns the rules that each account is bound to, in the cluster or in the mesh's namespace.
func rulesOf(t *testing.T, given values, cluster bool) map[string][]rbacv1.PolicyRule {
	t.Helper()
	all := objects(t, given)
	found := map[string][]rbacv1.PolicyRule{}
	if cluster {
		for _, binding := range every[*rbacv1.ClusterRoleBinding](all) {
			found[subject(t, binding.Subjects)] = must[*rbacv1.ClusterRole](t, all, binding.RoleRef.Name).Rules
		}
		return found
	}
	for _, binding := range every[*rbacv1.RoleBinding](all) {
		found[subject(t, binding.Subjects)] = must[*rbacv1.Role](t, all, binding.RoleRef.Name).Rules
	}
	return found
}

func TestSecurityPageNamesEveryPort(t *testing.T) {
	rows := securityTable(t, "Ports")
	for _, deployment := range every[*appsv1.Deployment](objects(t, values{})) {
		for _, container := range deployment.Spec.Template.Spec.Containers {
			for _, port := range container.Ports {
				number := fmt.Sprint(port.ContainerPort)
				if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == deployment.Name && row[1] == number }) {
					t.Errorf("docs/security.md does not have port %s of %s under Ports", number, deployment.Name)
				}
			}
		}
	}
}

// Every limit is on the page under its key and with its default.
func TestSecurityPageNamesEveryLimit(t *testing.T) {
	defaults := load(t).Values["osm"].(values)
	rows := securityTable(t, "Limits")
	for part, limits := range map[string]values{
		"controller": defaults["osmController"].(values)["limits"].(values),
		"injector":   defaults["injector"].(values)["limits"].(values),
		"sidecar":    defaults["sidecar"].(values),
	} {
		for key, value := range limits {
			text, err := yaml.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s` (%s)", key, strings.TrimSpace(string(text)))
			if !slices.ContainsFunc(rows, func(row []string) bool {
				return row[0] == part && (strings.Contains(row[2], "."+want) || strings.Contains(row[2], "`"+want))
			}) {
				t.Errorf("docs/security.md does not have %s under Limits of the %s", want, part)
			}
		}
	}
}

// The golden rendering of everything shows what each value does, so it has to set each one.
func TestEverythingSetsEveryValue(t *testing.T) {
	defaults, given := load(t).Values, fromFile(t, "testdata/everything.values.yaml")
	for _, key := range leaves(defaults, "") {
		if strings.HasPrefix(key, "osm.vault.") || strings.HasPrefix(key, "osm.certmanager.") || strings.HasPrefix(key, "osm.certificateProvider.") ||
			strings.HasPrefix(key, "osm.networkPolicy.vault.") || strings.HasPrefix(key, "osm.networkPolicy.dns.") {
			continue // providers have files of their own
		}
		if key == "osm.networkPolicy.enable" {
			continue // the default renders more; see below
		}
		was, is := at(defaults, key), at(given, key)
		if is == nil || fmt.Sprint(was) == fmt.Sprint(is) {
			t.Errorf("%s is %v in everything.values.yaml, want a value other than its default %v", key, is, was)
		}
	}
	if left := every[*networkingv1.NetworkPolicy](objects(t, set(t, "osm.networkPolicy.enable=false"))); len(left) != 0 {
		t.Errorf("with osm.networkPolicy.enable=false there are still %d NetworkPolicies", len(left))
	}
}

// at is the value of a key such as "osm.meshName"; nil if there is none.
func at(given values, key string) any {
	var node any = given
	for part := range strings.SplitSeq(key, ".") {
		inner, ok := node.(values)
		if !ok {
			return nil
		}
		node = inner[part]
	}
	return node
}
