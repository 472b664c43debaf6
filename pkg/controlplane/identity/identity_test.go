package identity

import (
	"slices"
	"strings"
	"testing"
)

func TestSpellings(t *testing.T) {
	id := Identity{Namespace: "shop", ServiceAccount: "store.v2"}
	for what, spelling := range map[string][2]string{
		"String":     {id.String(), "shop/store.v2"},
		"SPIFFE":     {id.SPIFFE("cluster.local"), "spiffe://cluster.local/ns/shop/sa/store.v2"},
		"CommonName": {id.CommonName("cluster.local"), "store.v2.shop.cluster.local"},
	} {
		if spelling[0] != spelling[1] {
			t.Errorf("%s is %q, want %q", what, spelling[0], spelling[1])
		}
	}
}

func TestParse(t *testing.T) {
	for uri, want := range map[string]Identity{
		"spiffe://cluster.local/ns/shop/sa/store":                       {"shop", "store"},
		"spiffe://cluster.local/ns/sa/sa/ns":                            {"sa", "ns"},
		"spiffe://cluster.local/ns/a.b/sa/c-d.e0":                       {"a.b", "c-d.e0"},
		"spiffe://cluster.local/ns/shop/sa/" + strings.Repeat("a", 253): {"shop", strings.Repeat("a", 253)},
		"":                                                              {},
		"spiffe://cluster.local":                                        {},
		"spiffe://cluster.local/ns/shop":                                {},
		"spiffe://cluster.local/ns/shop/sa/":                            {},
		"spiffe://cluster.local/ns//sa/store":                           {},
		"spiffe://cluster.local/ns/shop/store":                          {},
		"spiffe://cluster.local/ns/shop/sa/store/":                      {},
		"spiffe://cluster.local/ns/shop/sa/store/sa/other":              {},
		"spiffe://cluster.local/ns/shop/sa/store?x=y":                   {},
		"spiffe://cluster.local/ns/shop/sa/store#x":                     {},
		"spiffe://cluster.local/ns/shop/sa/st%6fre":                     {},
		"spiffe://cluster.local/ns/Shop/sa/store":                       {},
		"spiffe://cluster.local/ns/shop/sa/-store":                      {},
		"spiffe://cluster.local/ns/shop/sa/store-":                      {},
		"spiffe://cluster.local/ns/shop/sa/a..b":                        {},
		"spiffe://cluster.local/ns/shop/sa/.a":                          {},
		"spiffe://cluster.local/ns/shop/sa/sto\x00re":                   {},
		"spiffe://cluster.local/ns/shop/sa/" + strings.Repeat("a", 254): {},
		"SPIFFE://cluster.local/ns/shop/sa/store":                       {},
		"https://cluster.local/ns/shop/sa/store":                        {},
		"spiffe://cluster.local.evil/ns/shop/sa/store":                  {},
		"spiffe://cluster.loca/ns/shop/sa/store":                        {},
		"spiffe://user@cluster.local/ns/shop/sa/store":                  {},
		"spiffe://cluster.local:443/ns/shop/sa/store":                   {},
	} {
		got, err := Parse(uri, "cluster.local")
		if got != want || (err == nil) != (want != Identity{}) {
			t.Errorf("Parse(%q) = %v, %v; want %v", uri, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "spiffe://cluster.local/ns/NAMESPACE/sa/SERVICEACCOUNT") {
			t.Errorf("Parse(%q): %v does not say what is expected", uri, err)
		}
	}
}

func TestCompare(t *testing.T) {
	sorted := []Identity{{}, {"a", "b"}, {"a", "c"}, {"a-b", "a"}, {"b", ""}, {"b", "a"}}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := Compare(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("Compare(%v, %v) = %d", a, b, got)
			}
		}
	}
	if !slices.IsSortedFunc(sorted, Compare) {
		t.Error("not sorted")
	}
}

// Blanks around an id are not ignored.
func TestParseTrimsNothing(t *testing.T) {
	const uri = "spiffe://cluster.local/ns/shop/sa/store"
	for _, text := range []string{" " + uri, uri + " ", uri + "\n"} {
		if id, err := Parse(text, "cluster.local"); err == nil {
			t.Errorf("Parse(%q) = %v", text, id)
		}
	}
}
