package rotation_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// mesh is a mesh of two controllers, two injectors and two proxies, which are all up to
// date with the roots and use certificates of the signer.
type mesh struct {
	roots    []rotation.Root
	evidence rotation.Evidence
}

func root(name string, role rotation.Role, wanted time.Duration) rotation.Root {
	r := rotation.Root{Name: name, Role: role, Fingerprint: "ca-" + name}
	if wanted != 0 {
		r.WantedAt = noon.Add(-wanted)
	}
	return r
}

func newMesh(roots ...rotation.Root) *mesh {
	m := &mesh{roots: roots, evidence: rotation.Evidence{Now: noon}}
	var trusts []string
	var loaded []rotation.Loaded
	for _, r := range rotation.Trusted(roots) {
		trusts = append(trusts, r.Fingerprint)
		loaded = append(loaded, rotation.Loaded{Name: r.Name, Role: r.Role, Fingerprint: r.Fingerprint})
	}
	signer, _ := rotation.Signer(roots)
	for _, name := range []string{"controller-1", "controller-2", "injector-1", "injector-2"} {
		r := rotation.Replica{Name: name, Component: rotation.Controller, At: noon, Roots: loaded, Signer: signer.Fingerprint, Serving: signer.Fingerprint}
		proxy := rotation.Proxy{Pod: "shop/web-" + name, Identity: "shop/web", Trusts: trusts, Root: signer.Fingerprint, Serial: "5e1" + name[len(name)-1:], NotAfter: noon.Add(time.Hour), At: noon.Add(-time.Minute)}
		if strings.HasPrefix(name, "injector") {
			r = rotation.Replica{Name: name, Component: rotation.Injector, At: noon, Serving: signer.Fingerprint}
		} else {
			r.Proxies = []rotation.Proxy{proxy}
		}
		m.evidence.Replicas = append(m.evidence.Replicas, r)
	}
	m.evidence.Replicas[0].Leads = true
	m.evidence.Replicas[0].Secrets = []rotation.Secret{{Account: "shop/web", Trusts: trusts, Signer: signer.Fingerprint, Serial: "99", Since: noon.Add(-time.Hour)}}
	m.evidence.Webhooks = []rotation.Webhook{{Name: "osm-webhook-osm", Trusts: trusts, At: noon}}
	return m
}

func (m *mesh) replica(i int) *rotation.Replica { return &m.evidence.Replicas[i] }
func (m *mesh) proxy() *rotation.Proxy          { return &m.evidence.Replicas[1].Proxies[0] }

// TestPlanGoesForward: when all participants are up to date, each state of the roots leads to the next one.
func TestPlanGoesForward(t *testing.T) {
	const a, b, c = "a", "b", "c"
	tests := []struct {
		name      string
		roots     []rotation.Root
		want      string // Step.String
		abortable bool
	}{
		{"not requested", []rotation.Root{root(a, rotation.Active, 0), root(b, rotation.Passive, 0)}, "idle", false},
		{"no roots", nil, "idle", false},
		{"asked", []rotation.Root{root(a, rotation.Active, 0), root(b, rotation.Inactive, 1)},
			"trust-both: root b becomes passive because a rotation to it was requested", true},
		{"trusted", []rotation.Root{root(a, rotation.Active, 0), root(b, rotation.Passive, 1)},
			"trust-both: root b becomes active because all participants trust it", true},
		{"both active", []rotation.Root{root(a, rotation.Active, 0), root(b, rotation.Active, 1)},
			"sign-new: root a becomes passive because root b signs", true},
		{"renewed", []rotation.Root{root(a, rotation.Passive, 0), root(b, rotation.Active, 1)},
			"drop-old: root a becomes inactive because no certificate that it signed is in use", true},
		{"dropped", []rotation.Root{root(a, rotation.Inactive, 0), root(b, rotation.Active, 1)}, "done: b is the only root", false},
		{"aborted before the start", []rotation.Root{root(a, rotation.Active, 1), root(b, rotation.Inactive, 2)}, "done: a is the only root", false},
		{"aborted while trusted", []rotation.Root{root(a, rotation.Active, 1), root(b, rotation.Passive, 2)},
			"drop-old: root b becomes inactive because no certificate that it signed is in use", true},
		{"aborted with both active", []rotation.Root{root(a, rotation.Active, 1), root(b, rotation.Active, 2)},
			"sign-new: root b becomes passive because root a signs", true},
		{"aborted after the new one signed", []rotation.Root{root(a, rotation.Passive, 1), root(b, rotation.Active, 2)},
			"trust-both: root a becomes active because all participants trust it", true},
		{"a third one", []rotation.Root{root(a, rotation.Active, 0), root(b, rotation.Passive, 2), root(c, rotation.Passive, 1)},
			"trust-both: root c becomes active because all participants trust it", true},
		{"no root signs", []rotation.Root{root(a, rotation.Passive, 0), root(b, rotation.Passive, 1)},
			"trust-both: root b becomes active because all participants trust it", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(tt.roots...)
			step := rotation.Plan(m.roots, m.evidence)
			if step.String() != tt.want || step.Abortable != tt.abortable || len(step.Waiting) > 0 {
				t.Errorf("got %q (abortable %v, waits %v), want %q (%v)", step, step.Abortable, step.Waiting, tt.want, tt.abortable)
			}
		})
	}
}

// TestPlanClears: at the end the requests are cleared, the latest last, so that no earlier one takes effect again.
func TestPlanClears(t *testing.T) {
	m := newMesh(root("a", rotation.Inactive, 2), root("b", rotation.Active, 1))
	for _, want := range []string{"a", "b"} {
		step := rotation.Plan(m.roots, m.evidence)
		if step.Write == nil || !step.Write.ClearWanted || step.Write.Root != want || step.Write.From != step.Write.To {
			t.Fatalf("got %+v, want the request for %s cleared", step.Write, want)
		}
		for i := range m.roots {
			if m.roots[i].Name == want {
				m.roots[i].WantedAt = time.Time{}
			}
		}
	}
	if step := rotation.Plan(m.roots, m.evidence); step.Phase != rotation.Idle || step.Write != nil {
		t.Errorf("then %+v", step)
	}
}

// TestPlanWaits: a participant that lacks what the phase requires stops it, and is named with what it has.
func TestPlanWaits(t *testing.T) {
	trustBoth := []rotation.Root{root("a", rotation.Active, 0), root("b", rotation.Passive, 1)}
	renewing := []rotation.Root{root("a", rotation.Passive, 0), root("b", rotation.Active, 1)}
	dropped := []rotation.Root{root("a", rotation.Inactive, 0), root("b", rotation.Active, 1)}
	tests := []struct {
		name  string
		roots []rotation.Root
		spoil func(*mesh)
		want  string
	}{
		{"a proxy does not trust", trustBoth, func(m *mesh) { m.proxy().Trusts = []string{"ca-a"} },
			"proxy shop/web-controller-2 (does not trust root b yet; last acknowledged certificate 5e12 at 2026-03-04T11:59:00Z)"},
		{"a proxy is not connected", trustBoth, func(m *mesh) {
			m.replica(0).Unknown, m.replica(1).Unknown = []string{"shop/lost", "shop/web-controller-2"}, []string{"shop/lost"}
		}, "proxy shop/lost (is not connected to any replica)"},
		{"a replica is unavailable", trustBoth, func(m *mesh) {
			*m.replica(1) = rotation.Replica{Name: "controller-2", Component: rotation.Controller, Error: "connection refused"}
		}, "replica controller-2 (provides no evidence: connection refused)"},
		{"a replica has not loaded", trustBoth, func(m *mesh) { m.replica(1).Roots = m.replica(1).Roots[:1] }, "replica controller-2 (has not loaded root b)"},
		{"a replica loaded another CA", trustBoth, func(m *mesh) {
			m.replica(1).Roots = []rotation.Loaded{{"a", rotation.Active, "ca-x"}, {"b", rotation.Passive, "ca-b"}}
		}, "replica controller-2 (has loaded another CA as root a (sha256:ca-x))"},
		{"a replica is behind", renewing, func(m *mesh) {
			m.replica(1).Roots = []rotation.Loaded{{"a", rotation.Active, "ca-a"}, {"b", rotation.Passive, "ca-b"}}
		}, "replica controller-2 (has not yet seen that root a is passive)"},
		{"a replica has not seen the drop", dropped, func(m *mesh) {
			m.replica(1).Roots = []rotation.Loaded{{"a", rotation.Passive, "ca-a"}, {"b", rotation.Active, "ca-b"}}
		}, "replica controller-2 (has not yet seen that root a is inactive)"},
		{"a replica signs with another", trustBoth, func(m *mesh) { m.replica(1).Signer = "ca-b" }, "replica controller-2 (signs with root b)"},
		{"an injector is unavailable", trustBoth, func(m *mesh) { m.replica(3).Error = "connection refused" }, "replica injector-2 (provides no evidence: connection refused)"},
		{"an old Secret of the injectors", renewing, func(m *mesh) {
			m.replica(0).Secrets = append(m.replica(0).Secrets, rotation.Secret{Account: "osm-system/osm-injector", Trusts: []string{"ca-a", "ca-b"}, Signer: "ca-a"})
		}, "secret osm-system/osm-injector (its certificate is signed by root a)"},
		{"no controller", trustBoth, func(m *mesh) { m.evidence.Replicas = m.evidence.Replicas[2:] },
			"replica osm-controller (no replica has reported)|secret holder of the Lease (has not reported)"},
		{"the webhook", trustBoth, func(m *mesh) { m.evidence.Webhooks[0].Trusts = []string{"ca-a"} }, "webhook osm-webhook-osm (does not trust root b yet)"},
		{"the webhook is unreadable", trustBoth, func(m *mesh) { m.evidence.Webhooks[0].Error = "forbidden" }, "webhook osm-webhook-osm (forbidden)"},
		{"no webhook", trustBoth, func(m *mesh) { m.evidence.Webhooks = nil }, "webhook webhook configurations (have not been read)"},
		{"a Secret without the CA", trustBoth, func(m *mesh) { m.replica(0).Secrets[0].Trusts = []string{"ca-a"} },
			"secret shop/web (does not trust root b yet; last acknowledged certificate 99 at 2026-03-04T11:00:00Z)"},
		{"a Secret not delivered yet", trustBoth, func(m *mesh) { m.replica(0).Secrets[0].Since = noon.Add(-time.Minute) },
			"secret shop/web (may not have reached the pods before 2026-03-04T12:02:00Z; last acknowledged certificate 99 at 2026-03-04T11:59:00Z)"},
		{"a missing Secret", trustBoth, func(m *mesh) { m.proxy().Identity = "shop/new" }, "secret shop/new (is not written yet)"},
		{"no leader", trustBoth, func(m *mesh) { m.replica(0).Leads = false }, "secret holder of the Lease (has not reported)"},
		{"an old leaf", renewing, func(m *mesh) { m.proxy().Root = "ca-a" },
			"proxy shop/web-controller-2 (its certificate is signed by root a; last acknowledged certificate 5e12 at 2026-03-04T11:59:00Z)"},
		{"a leaf of an unknown CA", renewing, func(m *mesh) { m.proxy().Root = ""; m.proxy().Serial = "" },
			"proxy shop/web-controller-2 (its certificate is signed by an unknown CA)"},
		{"an old serving certificate", renewing, func(m *mesh) { m.replica(2).Serving = "ca-a" }, "replica injector-1 (its serving certificate is signed by root a)"},
		{"an old Secret", renewing, func(m *mesh) { m.replica(0).Secrets[0].Signer = "ca-a" },
			"secret shop/web (its certificate is signed by root a; last acknowledged certificate 99 at 2026-03-04T11:00:00Z)"},
		{"an old bundle", dropped, func(m *mesh) { m.proxy().Trusts = []string{"ca-a", "ca-b"} },
			"proxy shop/web-controller-2 (still trusts root a; last acknowledged certificate 5e12 at 2026-03-04T11:59:00Z)"},
		{"a bundle with an unknown CA", dropped, func(m *mesh) { m.evidence.Webhooks[0].Trusts = []string{"ca-b", "ca-x"} }, "webhook osm-webhook-osm (still trusts CA sha256:ca-x)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(tt.roots...)
			tt.spoil(m)
			step := rotation.Plan(m.roots, m.evidence)
			var waits []string
			for _, w := range step.Waiting {
				waits = append(waits, w.String())
			}
			if got := strings.Join(waits, "|"); got != tt.want || step.Write != nil {
				t.Errorf("waits for\n%s\nwant\n%s\nwrite %+v", got, tt.want, step.Write)
			}
			if !strings.Contains(step.String(), strings.Split(tt.want, "|")[0]) {
				t.Errorf("%q names no participant", step)
			}
		})
	}
}

func TestPlanIsBlocked(t *testing.T) {
	tests := map[string]struct {
		roots []rotation.Root
		want  string
	}{
		"the new root cannot be used": {[]rotation.Root{root("a", rotation.Active, 0), {Name: "b", Role: rotation.Inactive, WantedAt: noon, Problem: "Secret x/y is gone"}},
			"trust-both: blocked: root b cannot be used: Secret x/y is gone"},
		"not loaded":           {[]rotation.Root{root("a", rotation.Active, 0), {Name: "b", Role: rotation.Passive, WantedAt: noon}}, "trust-both: blocked: root b is not loaded yet"},
		"two of the same name": {[]rotation.Root{root("a", rotation.Active, 0), root("a", rotation.Passive, 1)}, `two roots are named "a"`},
		"an unknown role":      {[]rotation.Root{root("a", "main", 1)}, `root a has role "main": want active, passive or inactive`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			step := rotation.Plan(tt.roots, newMesh(tt.roots...).evidence)
			if !strings.Contains(step.String(), tt.want) || step.Write != nil {
				t.Errorf("got %q, want %q", step, tt.want)
			}
		})
	}
}

func TestAbort(t *testing.T) {
	tests := map[string]struct {
		roots []rotation.Root
		back  string
		err   string
	}{
		"no rotation":    {roots: []rotation.Root{root("a", rotation.Active, 0)}, err: "no rotation is in progress"},
		"before a write": {roots: []rotation.Root{root("a", rotation.Active, 0), root("b", rotation.Inactive, 1)}, back: "a"},
		"trusted":        {roots: []rotation.Root{root("a", rotation.Active, 0), root("b", rotation.Passive, 1)}, back: "a"},
		"both active":    {roots: []rotation.Root{root("a", rotation.Active, 0), root("b", rotation.Active, 1)}, back: "a"},
		"signing":        {roots: []rotation.Root{root("a", rotation.Passive, 0), root("b", rotation.Active, 1)}, back: "a"},
		"aborted":        {roots: []rotation.Root{root("a", rotation.Passive, 1), root("b", rotation.Active, 2)}, back: "b"},
		"dropped": {roots: []rotation.Root{root("a", rotation.Inactive, 0), root("b", rotation.Active, 1)},
			err: "the rotation to root b cannot be aborted: the previous root is no longer trusted; start a new rotation to go back to it"},
		"two to choose from": {roots: []rotation.Root{root("a", rotation.Passive, 0), root("b", rotation.Passive, 0), root("c", rotation.Active, 1)},
			err: "the rotation to root c cannot be aborted: a and b are both trusted; start a rotation to the one that is to sign"},
		"two, one of them was requested before": {roots: []rotation.Root{root("a", rotation.Passive, 0), root("b", rotation.Passive, 2), root("c", rotation.Active, 1)}, back: "b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			back, err := rotation.Abort(tt.roots)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || back.Name != tt.back {
				t.Errorf("back to %q, %v; want %q", back.Name, err, tt.back)
			}
		})
	}
}

// TestSigner: every replica chooses the same one of two, in whatever order it reads them.
func TestSigner(t *testing.T) {
	a, b := root("a", rotation.Active, 0), root("b", rotation.Active, 1)
	for _, roots := range [][]rotation.Root{{a, b}, {b, a}} {
		if signer, ok := rotation.Signer(roots); !ok || signer.Name != "b" {
			t.Errorf("%v: signer %q", roots, signer.Name)
		}
	}
	b.WantedAt = time.Time{}
	for _, roots := range [][]rotation.Root{{a, b}, {b, a}} {
		if signer, ok := rotation.Signer(roots); !ok || signer.Name != "a" {
			t.Errorf("%v: signer %q", roots, signer.Name)
		}
	}
	if _, ok := rotation.Signer([]rotation.Root{root("a", rotation.Passive, 0)}); ok {
		t.Error("a passive root signs")
	}
}

// TestReport lists every proxy, and names known roots; evidence survives a round trip through JSON.
func TestReport(t *testing.T) {
	m := newMesh(root("a", rotation.Active, 0), root("b", rotation.Passive, 1))
	m.replica(0).Unknown = []string{"shop/lost"}
	m.proxy().Root = "ca-x"
	text, err := json.Marshal(m.evidence)
	if err != nil {
		t.Fatal(err)
	}
	var evidence rotation.Evidence
	if err := json.Unmarshal(text, &evidence); err != nil {
		t.Fatal(err)
	}
	want := []rotation.Line{
		{Pod: "shop/lost"},
		{Pod: "shop/web-controller-1", Identity: "shop/web", Replica: "controller-1", Serial: "5e11", NotAfter: noon.Add(time.Hour), Root: "a", Trusts: []string{"a", "b"}, At: noon.Add(-time.Minute)},
		{Pod: "shop/web-controller-2", Identity: "shop/web", Replica: "controller-2", Serial: "5e12", NotAfter: noon.Add(time.Hour), Root: "ca-x", Trusts: []string{"a", "b"}, At: noon.Add(-time.Minute)},
	}
	if diff := cmp.Diff(want, rotation.Report(m.roots, evidence)); diff != "" {
		t.Error(diff)
	}
}
