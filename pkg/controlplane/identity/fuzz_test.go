package identity

import (
	"strings"
	"testing"

	"github.com/osm-edge/osm/tests/reach"
)

// FuzzParse: a SPIFFE id and an Identity map one to one, so that no two certificates are one workload
// and no certificate is two.
func FuzzParse(f *testing.F) {
	for _, id := range []Identity{{"shop", "store"}, {"kube-system", "a.b-c.d0"}, {"n", strings.Repeat("a", 253)}} {
		f.Add(id.SPIFFE("cluster.local"), "cluster.local")
		f.Add(id.SPIFFE("a.b")+"/", "a.b")
		f.Add(id.SPIFFE("a.b")+"?x", "a.b")
	}
	f.Add("spiffe://cluster.local/ns/shop/sa/store/sa/other", "cluster.local")
	f.Add("spiffe://cluster.local/ns/a%2fb/sa/store", "cluster.local")
	f.Add("SPIFFE://cluster.local/ns/shop/sa/store", "cluster.local")
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, uri, domain string) {
		td := TrustDomain(domain)
		id, err := Parse(uri, td)
		outcomes.Error(err)
		if err != nil {
			if id != (Identity{}) {
				t.Errorf("%q is refused and is %v", uri, id)
			}
			return
		}
		if back := id.SPIFFE(td); back != uri {
			t.Errorf("%q is %v, which is %q", uri, id, back)
		}
		if strings.ContainsAny(id.Namespace+id.ServiceAccount, "/%?#@: \x00") || id.Namespace == "" || id.ServiceAccount == "" {
			t.Errorf("%q is %+v", uri, id)
		}
	})
}
