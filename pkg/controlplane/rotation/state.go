package rotation

import "time"

// State is a rotation as the leader shows it, as JSON at debug.RotationPath.
type State struct {
	// Leads reports whether this replica is the leader. The rest of a State that is not the leader's is empty.
	Leads bool `json:"leads"`
	// At is when the evidence was collected.
	At      time.Time `json:"at,omitzero"`
	Roots   []Root    `json:"roots,omitempty"`
	Step    Step      `json:"step,omitzero"`
	Proxies []Line    `json:"proxies,omitempty"`
	// Error says why the rest is out of date.
	Error string `json:"error,omitempty"`
}
