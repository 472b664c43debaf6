package xds

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Whatever a proxy calls itself, an id that is accepted names one pod, and what is said of another is short
// and fit for a line of a log.
func FuzzNodeID(f *testing.F) {
	for _, id := range []string{
		"shop/store-0", "", "/", "shop/", "/store", "a/b/c", "sidecar~10.0.0.1~x", "shop/store\n0", "\x1b[31m/x",
		strings.Repeat("n", 63) + "/" + strings.Repeat("p", 253), strings.Repeat("n", 64) + "/" + strings.Repeat("p", 253), strings.Repeat("\xff", 1000),
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		pod, err := podOf(id)
		if err == nil {
			if len(id) > longestNode || pod.String() != id {
				t.Errorf("%q is taken for pod %q", id, pod)
			}
			return
		}
		if text := err.Error(); len(text) > 500 || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("it is said: %q", text)
		}
	})
}

// Whatever names a proxy asks for, drops and claims to hold, in whichever order, a session remembers what it
// asked for and did not drop, says so, and is over a limit exactly when that is more.
func FuzzNames(f *testing.F) {
	f.Add("a,b,c", "b", "c,d", "a")
	f.Add("*", "", "a,a,a", "*")
	f.Add(",,", ",", strings.Repeat("x", 5000)+",*", "")
	f.Add(strings.Repeat("ab,", 300), "ab", "", "*,ab")
	f.Fuzz(func(t *testing.T, first, then, drop, held string) {
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		holds := map[string]string{}
		for _, name := range split(held) {
			holds[name] = "1"
		}
		o := emptyMesh().offer(t)
		session := &deltaSession{lists: newNameLists()}
		want := map[string]bool{}
		for _, req := range []*discoveryv3.DeltaDiscoveryRequest{
			{ResourceNamesSubscribe: split(first), InitialResourceVersions: holds},
			{ResourceNamesSubscribe: split(then), ResourceNamesUnsubscribe: split(drop)},
		} {
			req.TypeUrl = endpoints.url()
			session.handle(req, o, instant)
			for _, name := range req.GetResourceNamesSubscribe() {
				want[name] = name != wildcardName
			}
			for _, name := range req.GetResourceNamesUnsubscribe() {
				delete(want, name)
			}
			delete(want, wildcardName)
			checkFits(t, session, len(want))
			if got := session.types[endpoints].names.all(); !slices.IsSorted(got) {
				t.Errorf("%q are not sorted", got)
			}
		}
		bytes := 0
		for name := range want {
			bytes += len(name)
		}
		if _, said := session.remembers(); said < bytes+stringSize*len(want) {
			t.Errorf("%d names of %d bytes are said to take %d", len(want), bytes, said)
		}
		for session.next(o, instant) != nil { // it answers everything
			typ := &session.types[endpoints]
			typ.awaiting, typ.sent = 0, sent{}
		}
	})
}
