package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phase is the progress of a rotation.
type Phase string

// The phases, in their order.
const (
	// Idle: no rotation was requested.
	Idle Phase = "idle"
	// TrustBoth: the new root becomes trusted everywhere; the old one signs.
	TrustBoth Phase = "trust-both"
	// SignNew: the new root takes over signing.
	SignNew Phase = "sign-new"
	// AllRenewed: every certificate signed by the old root is replaced.
	AllRenewed Phase = "all-renewed"
	// DropOld: the old root is no longer trusted. From here there is no way back.
	DropOld Phase = "drop-old"
	// Done: all participants trust only the new root.
	Done Phase = "done"
)

// Step is the phase of a rotation and what comes next: a Write, or Waiting, or Blocked, or nothing if it
// is Idle or Done.
type Step struct {
	Phase Phase `json:"phase"`
	// Goal is the name of the root that the rotation leads to.
	Goal string `json:"goal,omitempty"`
	// Write is the change to make now, or nil.
	Write *Write `json:"write,omitempty"`
	// Waiting lists the participants that the rotation waits for, sorted.
	Waiting []Wait `json:"waiting,omitempty"`
	// Blocked says what a user has to fix before the rotation continues.
	Blocked string `json:"blocked,omitempty"`
	// Abortable reports whether Abort can turn the rotation around.
	Abortable bool `json:"abortable"`
}

// Write is a change of one root's object as it was read: write it with that resource version, and on a
// conflict read and plan again.
type Write struct {
	Root string `json:"root"`
	// From and To are the roles. They are equal if only the request is cleared.
	From Role `json:"from"`
	To   Role `json:"to"`
	// ClearWanted asks to remove the time of the request: the rotation is over.
	ClearWanted bool `json:"clearWanted,omitempty"`
	// Why is the reason, for the log and the report.
	Why string `json:"why"`
}

// Wait is a participant that the rotation waits for.
type Wait struct {
	// Kind is replica, proxy, secret or webhook.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// For says what is missing.
	For string `json:"for"`
	// Replica is where a proxy is connected.
	Replica string `json:"replica,omitempty"`
	// Serial and At describe the last acknowledged certificate.
	Serial string    `json:"serial,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// defaultDelivery is how long a Secret may take to reach a running proxy: the kubelet syncs once a
// minute, from a cache that may be a minute old.
const defaultDelivery = 3 * time.Minute

// Planner plans. Its zero value is ready.
type Planner struct {
	// Delivery is how long a Secret may take to reach a running proxy; zero means three minutes.
	Delivery time.Duration
}

// Plan returns the next step, with the default Planner.
func Plan(roots []Root, evidence Evidence) Step { return Planner{}.Plan(roots, evidence) }

// Plan returns the next step. The roots must have been read before the evidence was collected.
func (p Planner) Plan(roots []Root, evidence Evidence) Step {
	goal, asked := Goal(roots)
	if !asked {
		return Step{Phase: Idle}
	}
	step := Step{Goal: goal.Name}
	_, err := Abort(roots)
	step.Abortable = err == nil
	others := slices.DeleteFunc(Trusted(roots), func(r Root) bool { return r.Name == goal.Name })
	step.Phase = phaseOf(goal, others)
	if err := check(roots); err != nil {
		step.Blocked = err.Error()
		return step
	}
	if goal.Problem != "" {
		step.Blocked = fmt.Sprintf("root %s cannot be used: %s", goal.Name, goal.Problem)
		return step
	}
	checker := &checker{planner: p, roots: roots, goal: goal, evidence: evidence}
	switch step.Phase {
	case TrustBoth:
		p.trustBoth(&step, goal, checker)
	case SignNew: // every replica signs with the new root since that became active
		step.Write = change(withRole(others, Active)[0], Passive, "root "+goal.Name+" signs")
	case AllRenewed:
		if step.Waiting = checker.unrenewed(); len(step.Waiting) == 0 {
			step.Phase = DropOld
			step.Write = change(others[0], Inactive, "no certificate that it signed is in use")
		}
	case DropOld:
		if step.Waiting = checker.trustingOthers(); len(step.Waiting) == 0 {
			step.Phase = Done
			step.Write = clearOldest(roots)
		}
	}
	return step
}

// phaseOf derives the phase from the roles.
func phaseOf(goal Root, others []Root) Phase {
	switch {
	case goal.Role != Active:
		return TrustBoth
	case len(withRole(others, Active)) > 0:
		return SignNew
	case len(others) > 0:
		return AllRenewed
	}
	return DropOld
}

func (p Planner) trustBoth(step *Step, goal Root, checker *checker) {
	if goal.Role == Inactive {
		step.Write = change(goal, Passive, "a rotation to it was requested")
		return
	}
	if step.Waiting = checker.untrusting(); len(step.Waiting) == 0 {
		step.Write = change(goal, Active, "all participants trust it")
	}
}

func change(root Root, to Role, why string) *Write {
	return &Write{Root: root.Name, From: root.Role, To: to, Why: why}
}

// clearOldest clears the requests of a rotation that is over, the goal's last, so that no earlier request
// takes effect again.
func clearOldest(roots []Root) *Write {
	requested := slices.DeleteFunc(slices.Clone(roots), func(r Root) bool { return r.WantedAt.IsZero() })
	oldest := slices.MaxFunc(requested, newest)
	write := change(oldest, oldest.Role, "the rotation is over")
	write.ClearWanted = true
	return write
}

// String describes the step in one line.
func (s Step) String() string {
	switch {
	case s.Blocked != "":
		return fmt.Sprintf("%s: blocked: %s", s.Phase, s.Blocked)
	case s.Write != nil && s.Write.ClearWanted:
		return fmt.Sprintf("%s: %s is the only root", s.Phase, s.Goal)
	case s.Write != nil:
		return fmt.Sprintf("%s: root %s becomes %s because %s", s.Phase, s.Write.Root, s.Write.To, s.Write.Why)
	case len(s.Waiting) > 0:
		more := ""
		if n := len(s.Waiting) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		return fmt.Sprintf("%s: waiting for %s%s", s.Phase, s.Waiting[0], more)
	}
	return string(s.Phase)
}

// String names the participant and what is missing.
func (w Wait) String() string {
	text := fmt.Sprintf("%s %s (%s)", w.Kind, w.Name, w.For)
	if w.Serial != "" {
		text = strings.TrimSuffix(text, ")") + fmt.Sprintf("; last acknowledged certificate %s at %s)", w.Serial, w.At.UTC().Format(time.RFC3339))
	}
	return text
}
