package rotation

import (
	"slices"
	"time"
)

// Line is one proxy of a Report.
type Line struct {
	Pod      string    `json:"pod"`
	Identity string    `json:"identity"`
	Replica  string    `json:"replica,omitempty"`
	Serial   string    `json:"serial,omitempty"`
	NotAfter time.Time `json:"notAfter,omitzero"`
	// Root is the name of the root that signed the certificate, Trusts are the names of those that the
	// proxy trusts. A CA that is not one of the roots is named by its fingerprint.
	Root   string    `json:"root,omitempty"`
	Trusts []string  `json:"trusts,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Report lists every proxy with its certificate, and when the proxy acknowledged it, sorted by pod. A pod
// without a connected proxy has a line with only its name.
func Report(roots []Root, evidence Evidence) []Line {
	var lines []Line
	for _, r := range evidence.Replicas {
		for _, p := range r.Proxies {
			line := Line{Pod: p.Pod, Identity: p.Identity, Replica: r.Name, Serial: p.Serial, NotAfter: p.NotAfter, Root: nameOf(roots, p.Root), At: p.At}
			for _, ca := range p.Trusts {
				line.Trusts = append(line.Trusts, nameOf(roots, ca))
			}
			slices.Sort(line.Trusts)
			lines = append(lines, line)
		}
	}
	for _, pod := range evidence.disconnected() {
		lines = append(lines, Line{Pod: pod})
	}
	slices.SortFunc(lines, func(a, b Line) int { return compareStrings(a.Pod, b.Pod, a.Replica, b.Replica) })
	return lines
}

// nameOf returns the name of the root with a fingerprint. If several have it, a trusted root takes precedence.
func nameOf(roots []Root, fingerprint string) string {
	for _, r := range append(Trusted(roots), roots...) {
		if r.Fingerprint == fingerprint && fingerprint != "" {
			return r.Name
		}
	}
	return fingerprint
}
