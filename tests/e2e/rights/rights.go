// Package rights compares the rights of accounts with their requests: an unused right is one too many,
// and a refused request is one too few. It knows RBAC's rules and the API server's audit log, and reads no
// cluster itself.
package rights

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Right is one verb of one rule on one resource, and perhaps on one object.
type Right struct {
	// User has the right, such as system:serviceaccount:osm-system:osm-controller.
	User string
	// Namespace that it holds in; "" is the whole cluster.
	Namespace string
	Verb      string
	// Group is the API group, and Resource includes a subresource: deployments/scale.
	Group, Resource string
	// Name of the one object; "" is any.
	Name string
}

func (r Right) String() string {
	where := "in the whole cluster"
	if r.Namespace != "" {
		where = "in namespace " + r.Namespace
	}
	return fmt.Sprintf("%s may %s %s %s", r.User, r.Verb, r.Object(), where)
}

// Object is the resource, its group and the object's name, where present: "leases.coordination.k8s.io one".
func (r Right) Object() string { return thing(r.Group, r.Resource, r.Name) }

func thing(group, resource, name string) string {
	if group != "" {
		resource += "." + group
	}
	if name != "" {
		resource += " " + name
	}
	return resource
}

// Of splits the rules of a user in a namespace, or in the whole cluster if that is "", into rights.
func Of(user, namespace string, rules []rbacv1.PolicyRule) []Right {
	var all []Right
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						all = append(all, Right{User: user, Namespace: namespace, Verb: verb, Group: group, Resource: resource, Name: name})
					}
				}
			}
		}
	}
	return all
}

// allows reports whether the request needs the right. A cluster-wide right is not needed for a request
// in the user's own namespace, where a Role would suffice.
func (r Right) allows(q Request) bool {
	if r.User != q.User || r.Verb != q.Verb || r.Group != q.Group || r.Resource != q.Resource || (r.Name != "" && r.Name != q.Name) {
		return false
	}
	if r.Namespace == "" {
		return q.Namespace == "" || q.Namespace != home(r.User)
	}
	return r.Namespace == q.Namespace
}

// home is the namespace of a ServiceAccount, "" for any other user.
func home(user string) string {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return ""
	}
	namespace, _, _ := strings.Cut(rest, ":")
	return namespace
}

// Report lists the mismatches.
type Report struct {
	// Unused are rights that no request needed, sorted.
	Unused []Right
	// Refused are the refused requests of users with any right, each once.
	Refused []Request
}

// Compare compares rights with requests. A refused request does not use a right.
func Compare(granted []Right, asked []Request) Report {
	used, users := map[Right]bool{}, map[string]bool{}
	for _, right := range granted {
		users[right.User] = true
		used[right] = used[right] || slices.ContainsFunc(asked, func(q Request) bool { return !q.Refused && right.allows(q) })
	}
	var report Report
	for right, is := range used {
		if !is {
			report.Unused = append(report.Unused, right)
		}
	}
	slices.SortFunc(report.Unused, func(a, b Right) int { return cmp.Compare(a.String(), b.String()) })
	seen := map[Request]bool{}
	for _, q := range asked {
		if q.Refused && users[q.User] && !seen[q] {
			seen[q] = true
			report.Refused = append(report.Refused, q)
		}
	}
	return report
}
