//go:build e2e

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	secondMesh = "second"
	nsSecond   = "e2e-second"
)

// twoMeshes installs a second mesh next to the first and removes it while traffic flows in the first. A command that
// combines one mesh's name with the other one's namespace finds neither.
func (s *story) twoMeshes(t *testing.T) {
	second := []string{"--mesh-name=" + secondMesh, "--osm-namespace=" + nsSecond}
	install := slices.Concat([]string{"install", "--enforce-single-mesh=false"}, second, s.narrowed(t), s.env.imageValues())
	s.refuses(t, "only mesh", install...)
	s.osm(t, "upgrade", "--enforce-single-mesh=false")
	before := must(s.meshObjects(t.Context()))(t)

	t.Cleanup(func() {
		namespaces := s.kube.CoreV1().Namespaces()
		if err := namespaces.Delete(withoutTest(t), nsSecond, metav1.DeleteOptions{}); err == nil {
			t.Errorf("namespace %s was left", nsSecond)
		}
	})
	_, client := s.onlyPod(t, s.apps.client)
	load := flow(t, client, s.apps.everything()...)
	s.osm(t, install...)
	both := must(s.meshObjects(t.Context()))(t)
	s.refuses(t, "no mesh", "uninstall", "mesh", "--force", "--mesh-name="+api.DefaultMeshName, "--osm-namespace="+nsSecond)
	s.refuses(t, "no mesh", "uninstall", "mesh", "--force", "--mesh-name="+secondMesh, "--osm-namespace="+api.DefaultNamespace)
	s.awaitInventory(t, both, s.meshObjects)

	s.osm(t, slices.Concat([]string{"uninstall", "mesh", "--force", "--delete-cluster-wide-resources", "--delete-namespace"}, second)...)
	s.awaitInventory(t, before, s.meshObjects)
	load.more(t, 200)
	load.stop(t)
}

// meshObjects returns the objects of the two meshes: the cluster-scoped ones, and those of their namespaces.
// Namespaces of earlier steps may still be terminating, and pods come and go with scaling.
func (s *story) meshObjects(ctx context.Context) (inventory, error) {
	all, err := s.list(ctx)
	maps.DeleteFunc(all, func(key, _ string) bool {
		resource, name, _ := strings.Cut(key, " ")
		namespace, name, _ := strings.Cut(name, "/")
		switch resource {
		case "pods", "endpointslices.discovery.k8s.io", "endpoints", "replicasets.apps":
			return true
		case "ipaddresses.networking.k8s.io": // of Services in those namespaces, too
			return true
		case "namespaces":
			return name != api.DefaultNamespace && name != nsSecond
		}
		return namespace != "" && namespace != api.DefaultNamespace && namespace != nsSecond
	})
	return all, err
}

// refuses runs a command that must fail, and say why.
func (s *story) refuses(t *testing.T, why string, args ...string) {
	t.Helper()
	text, err := s.tryOSM(t.Context(), args...)
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("osm %s = %v, want it refused with %q\n%s", strings.Join(args, " "), err, why, text)
	}
}
