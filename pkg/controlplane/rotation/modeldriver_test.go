package rotation_test

import (
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// driver is the planner on some replica. It is slow, and there may be two for a while.
type driver struct {
	read     []stored
	asking   []*replica
	evidence rotation.Evidence
}

// drive takes one step of a driver: read the roots, then ask one replica after the other, then write.
func (w *world) drive(d *driver) {
	if d.read == nil {
		*d = driver{read: slices.Clone(w.roots), asking: slices.Clone(w.replicas)}
		return
	}
	if len(d.asking) > 0 {
		d.evidence.Replicas = append(d.evidence.Replicas, w.reportOf(d.asking[0]))
		d.asking = d.asking[1:]
		if w.random.IntN(3) > 0 {
			w.drive(d)
		}
		return
	}
	d.evidence.Now = w.now
	d.evidence.Webhooks = []rotation.Webhook{{Name: "osm-webhook", Trusts: w.webhook}}
	var roots []rotation.Root
	for _, r := range d.read {
		roots = append(roots, r.Root)
	}
	if step := w.plan(roots, d.evidence); step.Write != nil {
		w.write(d.read, *step.Write)
	}
	*d = driver{}
}

// write is the API server: it accepts a write only for the version that was read.
func (w *world) write(read []stored, change rotation.Write) {
	i := slices.IndexFunc(w.roots, func(r stored) bool { return r.Name == change.Root })
	if w.roots[i].version != read[i].version {
		return
	}
	w.roots[i].Role = change.To
	if change.ClearWanted {
		w.roots[i].WantedAt = time.Time{}
	}
	w.roots[i].version++
}

// reportOf returns a replica's report, or an error if it has ended or is cut off.
func (w *world) reportOf(r *replica) rotation.Replica {
	if r.cutOff || !slices.Contains(w.replicas, r) {
		return rotation.Replica{Name: r.name, Component: r.component, Error: "connection refused"}
	}
	if r.component == rotation.Injector {
		return rotation.Replica{Name: r.name, Component: r.component, At: w.now, Serving: r.serving}
	}
	report := rotation.Replica{Name: r.name, Component: r.component, At: w.now, Signer: r.signer, Serving: r.serving, Leads: r.leads}
	for _, root := range r.view {
		report.Roots = append(report.Roots, rotation.Loaded{Name: root.Name, Role: root.Role, Fingerprint: root.Fingerprint})
	}
	for _, p := range w.pods {
		if p.at != r {
			report.Unknown = append(report.Unknown, p.name)
			continue
		}
		report.Proxies = append(report.Proxies, rotation.Proxy{Pod: p.name, Identity: p.account, Trusts: p.trusts, Root: p.root, Serial: "1", At: w.now})
	}
	if r.leads {
		report.Secrets = append(report.Secrets, rotation.Secret{Account: "osm-system/osm-injector", Trusts: r.bundle(), Signer: w.serving})
		for _, secret := range w.secrets {
			report.Secrets = append(report.Secrets, *secret)
		}
	}
	return report
}
