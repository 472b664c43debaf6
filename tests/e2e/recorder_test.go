//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/e2e/rights"
)

// recorder keeps every rule that the mesh's accounts have ever had, including those of the install hook, which are
// deleted with it. The accounts' requests are in the API server's audit log.
type recorder struct {
	log   string
	since time.Time

	mu       sync.Mutex
	rules    map[string][]rbacv1.PolicyRule // by reference
	bindings map[string]binding             // by reference
}

type binding struct {
	role, namespace string
	subjects        []rbacv1.Subject
}

// record starts a recorder; it returns nil if no audit log is configured.
func (s *story) record(t *testing.T) *recorder {
	t.Helper()
	if s.env.auditLog == "" {
		t.Logf("rights are not compared with their use: %s does not name the API server's audit log", varAuditLog)
		return nil
	}
	r := &recorder{log: s.env.auditLog, since: time.Now(), rules: map[string][]rbacv1.PolicyRule{}, bindings: map[string]binding{}}
	factory := informers.NewSharedInformerFactoryWithOptions(s.kube, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = api.LabelName + "=" + api.NameValue
	}))
	rbac := factory.Rbac().V1()
	for _, informer := range []cache.SharedInformer{
		rbac.Roles().Informer(), rbac.ClusterRoles().Informer(), rbac.RoleBindings().Informer(), rbac.ClusterRoleBindings().Informer(),
	} {
		must(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: r.keep, UpdateFunc: func(_, now any) { r.keep(now) },
		}))(t)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	return r
}

func (r *recorder) keep(object any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reference := func(kind, namespace, name string) string { return strings.Join([]string{kind, namespace, name}, "/") }
	role := func(namespace string, ref rbacv1.RoleRef) string {
		if ref.Kind == "ClusterRole" {
			namespace = ""
		}
		return reference(ref.Kind, namespace, ref.Name)
	}
	switch o := object.(type) {
	case *rbacv1.Role:
		key := reference("Role", o.Namespace, o.Name)
		r.rules[key] = append(r.rules[key], o.Rules...)
	case *rbacv1.ClusterRole:
		key := reference("ClusterRole", "", o.Name)
		r.rules[key] = append(r.rules[key], o.Rules...)
	case *rbacv1.RoleBinding:
		r.bindings[reference("RoleBinding", o.Namespace, o.Name)] = binding{role(o.Namespace, o.RoleRef), o.Namespace, o.Subjects}
	case *rbacv1.ClusterRoleBinding:
		r.bindings[reference("ClusterRoleBinding", "", o.Name)] = binding{role("", o.RoleRef), "", o.Subjects}
	}
}

// granted returns every right that an account of the mesh has had.
func (r *recorder) granted() []rights.Right {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []rights.Right
	for _, b := range r.bindings {
		for _, subject := range b.subjects {
			if subject.Namespace != api.DefaultNamespace {
				continue // of another mesh, which does not live long enough to need everything
			}
			all = append(all, rights.Of(userOf(subject.Namespace, subject.Name), b.namespace, r.rules[b.role])...)
		}
	}
	return all
}

// rulesOf returns an account's rules in a namespace, or in the whole cluster if that is "".
func (r *recorder) rulesOf(account, namespace string) []rbacv1.PolicyRule {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bindings {
		if b.namespace == namespace && slices.ContainsFunc(b.subjects, func(subject rbacv1.Subject) bool { return subject.Name == account }) {
			return r.rules[b.role]
		}
	}
	return nil
}

func userOf(namespace, account string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// asked reads the audit log and its rotated files.
func (r *recorder) asked(t *testing.T) []rights.Request {
	t.Helper()
	var all []rights.Request
	for _, path := range must(filepath.Glob(strings.TrimSuffix(r.log, ".log") + "*.log"))(t) {
		file := must(os.Open(path))(t)
		all = append(all, must(rights.Read(file, r.since))(t)...)
		_ = file.Close()
	}
	return slices.DeleteFunc(all, func(q rights.Request) bool { return strings.HasPrefix(q.Agent, stolenAgent) })
}

// fits fails the story for every refused request of the mesh's accounts, and for every right that the story
// should have used but did not.
func (s *story) fits(t *testing.T, r *recorder, mine func(rights.Right) bool) {
	if r == nil {
		return
	}
	granted, asked := r.granted(), r.asked(t)
	if len(granted) == 0 || len(asked) == 0 {
		t.Fatalf("%d rights and, in %s since %s, %d requests: something was not seen", len(granted), r.log, r.since, len(asked))
	}
	report := rights.Compare(granted, asked)
	for _, request := range report.Refused {
		if !ofOtherMesh(request) {
			t.Errorf("refused: %s", request)
		}
	}
	for _, right := range report.Unused {
		if mine(right) {
			t.Errorf("unused: %s", right)
		}
	}
	t.Logf("%d rights were compared with %d requests", len(granted), len(asked))
}

// ofOtherMesh reports whether a new leader asked about a proxy's Secret of the mesh that "outside" had. It looks
// for what an earlier leader left behind, may not read Secrets, and uses the policy's refusal as the result.
func ofOtherMesh(request rights.Request) bool {
	return request.Namespace == nsMember && request.Verb == "patch" && request.Resource == "secrets" &&
		strings.HasPrefix(request.Name, "osm-proxy-") && strings.HasSuffix(request.User, ":"+api.AppController)
}

// lifeRights checks that a mesh's whole life uses every right except those known to be idle, and that those are idle.
func (s *story) lifeRights(t *testing.T, r *recorder) {
	unused := map[rights.Right]bool{}
	s.fits(t, r, func(right rights.Right) bool {
		unused[right] = true
		return !slices.ContainsFunc(idleRights(), func(i idleRight) bool { return i.is(right) })
	})
	for _, right := range r.granted() {
		if !unused[right] && slices.ContainsFunc(idleRights(), func(i idleRight) bool { return i.is(right) && !i.chance }) {
			t.Errorf("listed as idle, but used: %s", right)
		}
	}
}

// rotationRights are unused until the root is rotated.
func rotationRights(right rights.Right) bool {
	return slices.ContainsFunc(idleRights(), func(i idleRight) bool { return i.rotation && i.is(right) })
}

// certManagerRights are granted only to a mesh with cert-manager.
func certManagerRights(right rights.Right) bool {
	// get is for a request whose creation or watch was interrupted, which no story causes.
	return right.Group == "cert-manager.io" && (right.Verb != "get" || right.Resource != "certificaterequests")
}

// idleRight is one that TestMesh does not use.
type idleRight struct {
	account, verb string
	// object is the resource, its group and the object's name, where present: "roots.config one".
	object string
	// rotation says that TestRotation uses it, and must; chance, that TestMesh might.
	rotation, chance bool
	why              string
}

func (i idleRight) is(right rights.Right) bool {
	return strings.HasSuffix(right.User, ":"+i.account) && right.Verb == i.verb && right.Object() == i.object
}

func idleRights() []idleRight {
	const roots = "meshrootcertificates"
	all := []idleRight{
		{account: api.AppController, verb: "patch", object: roots + ".config.openservicemesh.io", rotation: true, why: "what each root is for"},
		{account: api.AppController, verb: "patch", object: roots + "/status.config.openservicemesh.io", rotation: true, why: "what the rotation waits for"},
		{account: api.AppInjector, verb: "get", object: "namespaces", chance: true, why: "a pod in a namespace that the watch has not shown yet"},
	}
	for _, verb := range []string{"get", "list", "watch"} {
		all = append(all, idleRight{account: api.AppController, verb: verb, object: "secrets " + api.CABundleSecret + "-next", rotation: true, why: "the key of the root that comes"})
	}
	return all
}
