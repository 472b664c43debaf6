package rotation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The kinds of participants that a rotation waits for.
const (
	kindReplica = "replica"
	kindProxy   = "proxy"
	kindSecret  = "secret"
	kindWebhook = "webhook"
)

// checker goes through the evidence once and lists the participants to wait for.
type checker struct {
	planner  Planner
	roots    []Root
	goal     Root
	evidence Evidence
	waits    []Wait
}

// requirement is what every participant has to meet. Each function returns what is missing, or "".
type requirement struct {
	replica func(Replica) string
	trusts  func(trusts []string) string
	signed  func(by string) string
}

// untrusting lists the participants that do not trust the goal yet.
func (c *checker) untrusting() []Wait {
	return c.check(requirement{trusts: c.trustsGoal})
}

// unrenewed lists the participants that still use a certificate of another root.
func (c *checker) unrenewed() []Wait {
	return c.check(requirement{
		replica: func(r Replica) string {
			if r.Serving != c.goal.Fingerprint {
				return "its serving certificate is signed by " + c.name(r.Serving)
			}
			return ""
		},
		trusts: c.trustsGoal,
		signed: func(by string) string {
			if by != c.goal.Fingerprint {
				return "its certificate is signed by " + c.name(by)
			}
			return ""
		},
	})
}

// trustingOthers lists the participants that trust any root but the goal.
func (c *checker) trustingOthers() []Wait {
	return c.check(requirement{trusts: func(trusts []string) string {
		for _, ca := range trusts {
			if ca != c.goal.Fingerprint {
				return "still trusts " + c.name(ca)
			}
		}
		return c.trustsGoal(trusts)
	}})
}

func (c *checker) trustsGoal(trusts []string) string {
	if !slices.Contains(trusts, c.goal.Fingerprint) {
		return "does not trust root " + c.goal.Name + " yet"
	}
	return ""
}

// name returns the name of a CA for messages.
func (c *checker) name(fingerprint string) string {
	if fingerprint == "" {
		return "an unknown CA"
	}
	if name := nameOf(c.roots, fingerprint); name != fingerprint {
		return "root " + name
	}
	return "CA sha256:" + fingerprint
}

// check lists the participants that do not meet a requirement.
func (c *checker) check(of requirement) []Wait {
	c.checkReplicas(of)
	c.checkSecrets(of)
	c.checkWebhooks(of)
	for _, pod := range c.evidence.disconnected() {
		c.wait(Wait{Kind: kindProxy, Name: pod, For: "is not connected to any replica"})
	}
	slices.SortStableFunc(c.waits, func(a, b Wait) int { return compareStrings(a.Kind, b.Kind, a.Name, b.Name) })
	return c.waits
}

// wait adds a participant to the list, if anything is missing.
func (c *checker) wait(w Wait) {
	if w.For != "" {
		c.waits = append(c.waits, w)
	}
}

func (c *checker) checkReplicas(of requirement) {
	for _, r := range c.evidence.Replicas {
		missing := c.outOfDate(r)
		if missing == "" && of.replica != nil {
			missing = of.replica(r)
		}
		c.wait(Wait{Kind: kindReplica, Name: r.Name, For: missing, At: r.At})
		for _, p := range r.Proxies {
			missing := of.trusts(p.Trusts)
			if missing == "" && of.signed != nil {
				missing = of.signed(p.Root)
			}
			c.wait(Wait{Kind: kindProxy, Name: p.Pod, For: missing, Replica: r.Name, Serial: p.Serial, At: p.At})
		}
	}
	if !slices.ContainsFunc(c.evidence.Replicas, func(r Replica) bool { return r.Component == Controller }) {
		c.wait(Wait{Kind: kindReplica, Name: string(Controller), For: "no replica has reported"})
	}
}

// outOfDate returns why a replica does not use the current roots, or "". Evidence counts only if the replica has
// seen the current roots: what it reported on earlier ones may change once it sees them. An injector uses
// no root: its serving certificate and its Secret are checked instead.
func (c *checker) outOfDate(r Replica) string {
	if r.Error != "" {
		return "provides no evidence: " + r.Error
	}
	if r.Component == Injector {
		return ""
	}
	known := map[string]Loaded{}
	for _, l := range r.Roots {
		if l.Role != Inactive {
			known[l.Name] = l
		}
	}
	for _, root := range Trusted(c.roots) {
		l, ok := known[root.Name]
		delete(known, root.Name)
		switch {
		case !ok:
			return fmt.Sprintf("has not loaded root %s", root.Name)
		case l.Fingerprint != root.Fingerprint:
			return fmt.Sprintf("has loaded another CA as root %s (sha256:%s)", root.Name, l.Fingerprint)
		case l.Role != root.Role:
			return fmt.Sprintf("has not yet seen that root %s is %s", root.Name, root.Role)
		}
	}
	if dropped := slices.Sorted(maps.Keys(known)); len(dropped) > 0 {
		return fmt.Sprintf("has not yet seen that root %s is %s", dropped[0], Inactive)
	}
	if signer, ok := Signer(c.roots); ok && r.Signer != signer.Fingerprint {
		return "signs with " + c.name(r.Signer)
	}
	return ""
}

// checkSecrets checks what the leader wrote. A Secret reaches the proxies with a delay, and no proxy
// acknowledges it, so only its age shows whether it has arrived.
func (c *checker) checkSecrets(of requirement) {
	carried := map[string]bool{}
	led := false
	for _, r := range c.evidence.Replicas {
		led = led || r.Leads && r.Error == ""
		for _, s := range r.Secrets {
			carried[s.Account] = true
			missing := of.trusts(s.Trusts)
			if missing == "" && of.signed != nil {
				missing = of.signed(s.Signer)
			}
			if missing == "" {
				missing = c.undelivered(s)
			}
			c.wait(Wait{Kind: kindSecret, Name: s.Account, For: missing, Replica: r.Name, Serial: s.Serial, At: s.Since})
		}
	}
	if !led {
		c.wait(Wait{Kind: kindSecret, Name: "holder of the Lease", For: "has not reported"})
		return
	}
	for _, account := range c.accounts() {
		if !carried[account] {
			c.wait(Wait{Kind: kindSecret, Name: account, For: "is not written yet"})
		}
	}
}

func (c *checker) undelivered(s Secret) string {
	delivery := cmp.Or(c.planner.Delivery, defaultDelivery)
	if until := s.Since.Add(delivery); c.evidence.Now.Before(until) {
		return "may not have reached the pods before " + until.UTC().Format(time.RFC3339)
	}
	return ""
}

// accounts are the ServiceAccounts of all connected proxies, sorted.
func (c *checker) accounts() []string {
	var accounts []string
	for _, r := range c.evidence.Replicas {
		for _, p := range r.Proxies {
			accounts = append(accounts, p.Identity)
		}
	}
	slices.Sort(accounts)
	return slices.Compact(accounts)
}

func (c *checker) checkWebhooks(of requirement) {
	for _, w := range c.evidence.Webhooks {
		missing := w.Error
		if missing == "" {
			missing = of.trusts(w.Trusts)
		}
		c.wait(Wait{Kind: kindWebhook, Name: w.Name, For: missing, At: w.At})
	}
	injected := slices.ContainsFunc(c.evidence.Replicas, func(r Replica) bool { return r.Component == Injector })
	if injected && len(c.evidence.Webhooks) == 0 {
		c.wait(Wait{Kind: kindWebhook, Name: "webhook configurations", For: "have not been read"})
	}
}

func compareStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if order := strings.Compare(pairs[i], pairs[i+1]); order != 0 {
			return order
		}
	}
	return 0
}
