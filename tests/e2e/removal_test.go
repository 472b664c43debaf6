//go:build e2e

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	nsUser     = "e2e-user"
	userSecret = "osm-proxy-mine" // looks like one of the mesh's, but is not
)

// createUserObjects creates what the user has before the mesh is installed and must keep after its removal: a namespace,
// and in it a Secret whose name looks like one of the mesh's own. It returns the Secret's version.
func (s *story) createUserObjects(t *testing.T) string {
	t.Helper()
	s.namespace(t, nsUser)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: userSecret}, StringData: map[string]string{"mine": "yes"}}
	return must(s.kube.CoreV1().Secrets(nsUser).Create(t.Context(), secret, metav1.CreateOptions{}))(t).ResourceVersion
}

// uninstall removes the mesh while applications run, and checks that they keep working, that new
// ones start, and that nothing is left in the end.
func (s *story) uninstall(t *testing.T, userVersion string, before inventory) {
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	if s.inventory(t).difference(before) == "" {
		t.Fatal("the inventory is the same with and without a mesh: it does not see the mesh")
	}
	t.Log(s.osm(t, "uninstall", "mesh", "--force", "--delete-cluster-wide-resources", "--delete-namespace"))
	load.more(t, 200)
	load.stop(t)

	after := app{namespace: nsServer, name: "after"}
	if pod := s.deploy(t, after, 1)[0]; injected(pod) {
		t.Errorf("pod %s got a sidecar although the mesh is removed", pod.Name)
	}
	if version := must(s.kube.CoreV1().Secrets(nsUser).Get(t.Context(), userSecret, metav1.GetOptions{}))(t).ResourceVersion; version != userVersion {
		t.Errorf("the user's own Secret %s was changed: version %s, was %s", userSecret, version, userVersion)
	}
	for _, namespace := range s.mine(t) {
		if namespace != nsUser {
			s.deleteNamespace(t, namespace)
		}
	}
	s.unchangedSince(t, before)
	t.Logf("all %d earlier objects are there, and no others", len(before))
}

func (s *story) mine(t *testing.T) []string {
	t.Helper()
	list := must(s.kube.CoreV1().Namespaces().List(withoutTest(t), metav1.ListOptions{LabelSelector: labelMine}))(t)
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// deleteNamespace deletes a namespace without waiting for it.
func (s *story) deleteNamespace(t *testing.T, name string) {
	t.Helper()
	if err := s.kube.CoreV1().Namespaces().Delete(withoutTest(t), name, metav1.DeleteOptions{}); ignoreMissing(err) != nil {
		t.Errorf("delete namespace %s: %v", name, err)
	}
}

// withoutTest returns a context that outlives the test, for cleanup.
func withoutTest(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }
