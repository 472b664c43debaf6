package check_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/check"
	"github.com/osm-edge/osm/tests/reach"
)

// A name that can be a mesh's can also stand wherever the chart and the CLI put it: as a label's value,
// in a label selector, and in the names of objects.
func FuzzMeshName(f *testing.F) {
	for _, seed := range []string{"osm", "a-b", "-a", "A", "a.b", "", "a,b", "a=b", strings.Repeat("a", 63), strings.Repeat("a", 64), "ä", "a\n"} {
		f.Add(seed)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, name string) {
		err := check.ValidMeshName(name)
		outcomes.Error(err)
		if err != nil {
			if err.Error() == "" || strings.ContainsAny(err.Error(), "\x1b\r\n") {
				t.Fatalf("%q is refused with %q", name, err)
			}
			return
		}
		if problems := validation.IsValidLabelValue(name); len(problems) > 0 {
			t.Fatalf("%q as a label's value: %v", name, problems)
		}
		for _, object := range []string{api.WebhookConfigName(name), "osm-controller-" + name, "osm-proxy-secrets-" + name} {
			if problems := validation.IsDNS1123Subdomain(object); len(problems) > 0 {
				t.Fatalf("%q as an object's name: %v", object, problems)
			}
		}
	})
}
