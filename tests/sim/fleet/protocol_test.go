package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// summaries returns the requests of a variant in a short form, for comparison.
func summaries(t *testing.T, v variant, out []outgoing) []string {
	t.Helper()
	var list []string
	for _, message := range out {
		if _, ok := v.(*sotw); ok {
			req := &discoveryv3.DiscoveryRequest{}
			if err := proto.Unmarshal(message, req); err != nil {
				t.Fatal(err)
			}
			list = append(list, trimmed(fmt.Sprintf("%s node=%s version=%s nonce=%s names=%s", short(t, req.GetTypeUrl()),
				req.GetNode().GetId(), req.GetVersionInfo(), req.GetResponseNonce(), strings.Join(req.GetResourceNames(), ","))))
			continue
		}
		req := &discoveryv3.DeltaDiscoveryRequest{}
		if err := proto.Unmarshal(message, req); err != nil {
			t.Fatal(err)
		}
		var held []string
		for name, version := range req.GetInitialResourceVersions() {
			held = append(held, name+"@"+version)
		}
		slices.Sort(held)
		list = append(list, trimmed(fmt.Sprintf("%s node=%s nonce=%s +%s -%s has=%s", short(t, req.GetTypeUrl()), req.GetNode().GetId(),
			req.GetResponseNonce(), strings.Join(req.GetResourceNamesSubscribe(), ","), strings.Join(req.GetResourceNamesUnsubscribe(), ","), strings.Join(held, ","))))
	}
	return list
}

// trimmed omits empty parts.
func trimmed(line string) string {
	var kept []string
	for _, word := range strings.Fields(line) {
		if word != "+" && word != "-" && !strings.HasSuffix(word, "=") {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

func short(t *testing.T, typeURL string) string {
	t.Helper()
	k, err := kindOf([]byte(typeURL))
	if err != nil {
		t.Fatal(err)
	}
	return k.String()
}

// versioned is a resource of a delta response.
type versioned struct {
	name, version string
	message       proto.Message
}

func deltaResponse(t *testing.T, kind Kind, nonce string, removed []string, resources ...versioned) []byte {
	t.Helper()
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind.typeURL(), Nonce: nonce, RemovedResources: removed}
	for _, r := range resources {
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: r.name, Version: r.version, Resource: packed(t, r.message)})
	}
	return marshalled(t, resp)
}

func sotwResponse(t *testing.T, kind Kind, version, nonce string, resources ...proto.Message) []byte {
	t.Helper()
	resp := &discoveryv3.DiscoveryResponse{TypeUrl: kind.typeURL(), VersionInfo: version, Nonce: nonce}
	for _, r := range resources {
		resp.Resources = append(resp.Resources, &anypb.Any{TypeUrl: kind.typeURL(), Value: marshalled(t, r)})
	}
	return marshalled(t, resp)
}

// exchange passes a response to a variant and compares the answers.
func exchange(t *testing.T, v variant, message []byte, want ...string) {
	t.Helper()
	_, out, err := v.take(message, func(*resource) {})
	if err != nil {
		t.Fatal(err)
	}
	if got := summaries(t, v, out); !slices.Equal(got, want) {
		t.Errorf("answers\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func begins(t *testing.T, v variant, want ...string) {
	t.Helper()
	if got := summaries(t, v, v.begin("ns/pod")); !slices.Equal(got, want) {
		t.Errorf("begins with\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// TestDeltaAsksLikeEnvoy follows one proxy from its start through all changes.
func TestDeltaAsksLikeEnvoy(t *testing.T) {
	d := &delta{holding: holding{catalog: NewCatalog()}}
	begins(t, d, "cds node=ns/pod")
	a, b := edsCluster(t, "a"), edsCluster(t, "b")
	exchange(t, d, deltaResponse(t, CDS, "1", nil, versioned{"a", "a1", a}, versioned{"b", "b1", b}, versioned{"s", "s1", staticCluster("s")}),
		"cds nonce=1", "eds +a,b", "sds +leaf")
	exchange(t, d, deltaResponse(t, EDS, "2", nil, versioned{"a", "e1", assignment("a")}), "eds nonce=2")
	exchange(t, d, deltaResponse(t, SDS, "3", nil, versioned{"leaf", "l1", staticCluster("leaf")}), "sds nonce=3")
	// Listeners are only requested after the last cluster is warm. A nonexistent name also counts as answered.
	exchange(t, d, deltaResponse(t, EDS, "4", []string{"b"}), "eds nonce=4", "lds")
	if d.configured() {
		t.Error("configured without listeners")
	}
	exchange(t, d, deltaResponse(t, LDS, "5", nil, versioned{"l", "l1", routedListener(t, "l", "r", "q")}), "lds nonce=5", "rds +q,r")
	exchange(t, d, deltaResponse(t, RDS, "6", nil, versioned{"r", "r1", staticCluster("r")}), "rds nonce=6")
	if d.configured() {
		t.Error("configured without the route q")
	}
	exchange(t, d, deltaResponse(t, RDS, "7", nil, versioned{"q", "q1", staticCluster("q")}), "rds nonce=7")
	if !d.configured() {
		t.Error("not configured with everything")
	}

	// A removed cluster removes its endpoints.
	exchange(t, d, deltaResponse(t, CDS, "8", []string{"a"}), "cds nonce=8", "eds -a")
	begins(t, d, "cds node=ns/pod has=b@b1,s@s1", "eds +b", "sds +leaf has=leaf@l1", "lds has=l@l1", "rds +q,r has=q@q1,r@r1")
	if !d.configured() {
		t.Error("it lost its state on a reconnect")
	}
	d.forget()
	begins(t, d, "cds node=ns/pod")
	if d.configured() {
		t.Error("configured after it lost its state")
	}
}

func TestDeltaAsksForWhatItNeedsAgain(t *testing.T) {
	d := &delta{holding: holding{catalog: NewCatalog()}}
	d.begin("ns/pod")
	cluster := versioned{"a", "1", edsCluster(t, "a")}
	exchange(t, d, deltaResponse(t, CDS, "1", nil, cluster), "cds nonce=1", "eds +a", "sds +leaf")
	exchange(t, d, deltaResponse(t, CDS, "2", []string{"a"}), "cds nonce=2", "eds -a", "sds -leaf", "lds")
	exchange(t, d, deltaResponse(t, CDS, "3", nil, cluster), "cds nonce=3", "eds +a", "sds +leaf")
	if d.warm() {
		t.Error("warm with the endpoints of an older subscription")
	}
}

func TestOnlySomeEndpoints(t *testing.T) {
	d := &delta{holding: holding{catalog: NewCatalog(), only: func(name string) bool { return name == "a" }}}
	d.begin("ns/pod")
	exchange(t, d, deltaResponse(t, CDS, "1", nil, versioned{"a", "1", edsCluster(t, "a")}, versioned{"b", "1", edsCluster(t, "b")}),
		"cds nonce=1", "eds +a", "sds +leaf")
}

func TestSotwAsksLikeEnvoy(t *testing.T) {
	s := &sotw{holding: holding{catalog: NewCatalog()}}
	begins(t, s, "cds node=ns/pod")
	exchange(t, s, sotwResponse(t, CDS, "v1", "1", edsCluster(t, "a"), edsCluster(t, "b")),
		"cds version=v1 nonce=1", "eds names=a,b", "sds names=leaf")
	exchange(t, s, sotwResponse(t, EDS, "v2", "2", assignment("a"), assignment("b")), "eds version=v2 nonce=2 names=a,b")
	exchange(t, s, sotwResponse(t, SDS, "v3", "3", staticCluster("leaf")), "sds version=v3 nonce=3 names=leaf", "lds")
	exchange(t, s, sotwResponse(t, LDS, "v4", "4", routedListener(t, "l", "r")), "lds version=v4 nonce=4", "rds names=r")
	exchange(t, s, sotwResponse(t, RDS, "v5", "5", staticCluster("r")), "rds version=v5 nonce=5 names=r")
	if !s.configured() {
		t.Error("not configured with everything")
	}
	// Clusters missing from a response are deleted.
	exchange(t, s, sotwResponse(t, CDS, "v6", "6", edsCluster(t, "b")), "cds version=v6 nonce=6", "eds version=v2 nonce=2 names=b")
	begins(t, s, "cds node=ns/pod version=v6", "eds version=v2 names=b", "sds version=v3 names=leaf", "lds version=v4", "rds version=v5 names=r")
	s.forget()
	begins(t, s, "cds node=ns/pod")
}

func TestTakeReportsEachResource(t *testing.T) {
	d := &delta{holding: holding{catalog: NewCatalog()}}
	var came []string
	got, _, err := d.take(deltaResponse(t, EDS, "1", []string{"z"}, versioned{"a", "1", assignment("a", "10.0.0.1")}), func(r *resource) { came = append(came, r.name.text) })
	if err != nil || !slices.Equal(came, []string{"a"}) || got != (received{EDS, 1, 1}) {
		t.Errorf("resources %v, received %+v, %v", came, got, err)
	}
	if _, _, err := d.take([]byte{0xff}, func(*resource) {}); err == nil {
		t.Error("accepted an invalid response")
	}
	if _, _, err := d.take(deltaResponse(t, CDS, "2", nil, versioned{"c", "1", assignment("c")})[:20], func(*resource) {}); err == nil {
		t.Error("accepted a truncated response")
	}
}
