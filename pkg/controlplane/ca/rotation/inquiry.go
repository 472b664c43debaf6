package rotation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kinds of those who are waited for.
const (
	kindReplica = "replica"
	kindProxy   = "proxy"
	kindSecret  = "secret"
	kindWebhook = "webhook"
)

// inquiry goes through the evidence once and notes whom to wait for.
type inquiry struct {
	planner  Planner
	roots    []Root
	goal     Root
	evidence Evidence
	waits    []Wait
}

// question is what everybody is asked; each part returns what is missing, or nothing.
type question struct {
	replica func(Replica) string
	trusts  func(trusts []string) string
	signed  func(by string) string
}

// trusted asks who does not trust the goal yet.
func (q *inquiry) trusted() []Wait {
	return q.ask(question{trusts: q.trustsGoal})
}

// renewed asks who still uses what another root signed.
func (q *inquiry) renewed() []Wait {
	return q.ask(question{
		replica: func(r Replica) string {
			if r.Serving != q.goal.Fingerprint {
				return "its serving certificate is signed by " + q.name(r.Serving)
			}
			return ""
		},
		trusts: q.trustsGoal,
		signed: func(by string) string {
			if by != q.goal.Fingerprint {
				return "its certificate is signed by " + q.name(by)
			}
			return ""
		},
	})
}

// alone asks who trusts anything beside the goal.
func (q *inquiry) alone() []Wait {
	return q.ask(question{trusts: func(trusts []string) string {
		for _, ca := range trusts {
			if ca != q.goal.Fingerprint {
				return "still trusts " + q.name(ca)
			}
		}
		return q.trustsGoal(trusts)
	}})
}

func (q *inquiry) trustsGoal(trusts []string) string {
	if !slices.Contains(trusts, q.goal.Fingerprint) {
		return "does not trust root " + q.goal.Name + " yet"
	}
	return ""
}

// name is how a CA appears in messages.
func (q *inquiry) name(fingerprint string) string {
	if fingerprint == "" {
		return "a CA that is not known"
	}
	if name := nameOf(q.roots, fingerprint); name != fingerprint {
		return "root " + name
	}
	return "CA sha256:" + fingerprint
}

// ask puts the question to everybody, and returns whom to wait for.
func (q *inquiry) ask(of question) []Wait {
	q.askReplicas(of)
	q.askSecrets(of)
	q.askWebhooks(of)
	for _, pod := range q.evidence.lost() {
		q.wait(Wait{Kind: kindProxy, Name: pod, For: "is not connected to any replica"})
	}
	slices.SortStableFunc(q.waits, func(a, b Wait) int { return compareStrings(a.Kind, b.Kind, a.Name, b.Name) })
	return q.waits
}

// wait notes somebody, if anything is missing.
func (q *inquiry) wait(w Wait) {
	if w.For != "" {
		q.waits = append(q.waits, w)
	}
}

func (q *inquiry) askReplicas(of question) {
	for _, r := range q.evidence.Replicas {
		missing := q.outOfDate(r)
		if missing == "" && of.replica != nil {
			missing = of.replica(r)
		}
		q.wait(Wait{Kind: kindReplica, Name: r.Name, For: missing, At: r.At})
		for _, p := range r.Proxies {
			missing := of.trusts(p.Trusts)
			if missing == "" && of.signed != nil {
				missing = of.signed(p.Root)
			}
			q.wait(Wait{Kind: kindProxy, Name: p.Pod, For: missing, Replica: r.Name, Serial: p.Serial, At: p.At})
		}
	}
	if !slices.ContainsFunc(q.evidence.Replicas, func(r Replica) bool { return r.Component == Controller }) {
		q.wait(Wait{Kind: kindReplica, Name: string(Controller), For: "no replica has reported"})
	}
}

// outOfDate says why a replica does not act on the roots as they are. Only what a replica does on
// the present roots proves anything: what it reported on former ones may change when it sees them. An
// injector acts on no root: what it serves is the question, and what its Secret holds.
func (q *inquiry) outOfDate(r Replica) string {
	if r.Error != "" {
		return "gives no evidence: " + r.Error
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
	for _, root := range Trusted(q.roots) {
		l, ok := known[root.Name]
		delete(known, root.Name)
		switch {
		case !ok:
			return fmt.Sprintf("has not loaded root %s", root.Name)
		case l.Fingerprint != root.Fingerprint:
			return fmt.Sprintf("has loaded another CA as root %s (sha256:%s)", root.Name, l.Fingerprint)
		case l.Role != root.Role:
			return fmt.Sprintf("has not seen yet that root %s is %s", root.Name, root.Role)
		}
	}
	if dropped := slices.Sorted(maps.Keys(known)); len(dropped) > 0 {
		return fmt.Sprintf("has not seen yet that root %s is %s", dropped[0], Inactive)
	}
	if signer, ok := Signer(q.roots); ok && r.Signer != signer.Fingerprint {
		return "signs with " + q.name(r.Signer)
	}
	return ""
}

// askSecrets asks the holder of the Lease. What a Secret carries reaches the proxies a while later,
// and no proxy acknowledges it, so that its age has to do.
func (q *inquiry) askSecrets(of question) {
	carried := map[string]bool{}
	led := false
	for _, r := range q.evidence.Replicas {
		led = led || r.Leads && r.Error == ""
		for _, s := range r.Secrets {
			carried[s.Account] = true
			missing := of.trusts(s.Trusts)
			if missing == "" && of.signed != nil {
				missing = of.signed(s.Signer)
			}
			if missing == "" {
				missing = q.undelivered(s)
			}
			q.wait(Wait{Kind: kindSecret, Name: s.Account, For: missing, Replica: r.Name, Serial: s.Serial, At: s.Since})
		}
	}
	if !led {
		q.wait(Wait{Kind: kindSecret, Name: "holder of the Lease", For: "has not reported"})
		return
	}
	for _, account := range q.accounts() {
		if !carried[account] {
			q.wait(Wait{Kind: kindSecret, Name: account, For: "is not written yet"})
		}
	}
}

func (q *inquiry) undelivered(s Secret) string {
	delivery := cmp.Or(q.planner.Delivery, defaultDelivery)
	if until := s.Since.Add(delivery); q.evidence.Now.Before(until) {
		return "may not have reached the pods before " + until.UTC().Format(time.RFC3339)
	}
	return ""
}

// accounts are those of all connected proxies, sorted.
func (q *inquiry) accounts() []string {
	var accounts []string
	for _, r := range q.evidence.Replicas {
		for _, p := range r.Proxies {
			accounts = append(accounts, p.Identity)
		}
	}
	slices.Sort(accounts)
	return slices.Compact(accounts)
}

func (q *inquiry) askWebhooks(of question) {
	for _, w := range q.evidence.Webhooks {
		missing := w.Error
		if missing == "" {
			missing = of.trusts(w.Trusts)
		}
		q.wait(Wait{Kind: kindWebhook, Name: w.Name, For: missing, At: w.At})
	}
	injected := slices.ContainsFunc(q.evidence.Replicas, func(r Replica) bool { return r.Component == Injector })
	if injected && len(q.evidence.Webhooks) == 0 {
		q.wait(Wait{Kind: kindWebhook, Name: "webhook configurations", For: "have not been read"})
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
