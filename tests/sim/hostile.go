package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/hostile"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

// The attackers' addresses; fleets connect from others.
const (
	meshedAttacker   = "127.0.0.2"
	unmeshedAttacker = "127.0.0.3"
)

const (
	// attackRounds is the number of rounds with attackers, alternating with as many without.
	attackRounds = 3
	// newcomers is the number of new proxies whose first configuration is timed.
	newcomers = 50
	// maxSlowdown is the maximum slowdown of honest proxies under attack.
	maxSlowdown = 1.5
)

// roundResults holds the results of the rounds of one kind.
type roundResults struct {
	latencies []time.Duration
	onboard   []float64 // seconds
	cpu       []float64 // CPUs
	rss       []float64 // bytes
	logged    []float64 // bytes in all
}

// hostilePods: how do a hostile pod of the mesh and one outside it affect honest proxies?
func hostilePods(r *rig) error {
	f, err := r.connected()
	if err != nil {
		return err
	}
	all := r.world.Pods()
	evil, others := all[r.scenario.proxies], all[r.scenario.proxies+1:]
	if len(others) < newcomers {
		return fmt.Errorf("%d pods are left for newcomers, want %d: raise -pods", len(others), newcomers)
	}
	late, err := r.proxies(others[:newcomers]...)
	if err != nil {
		return err
	}
	fresh := r.usualFleet()
	fresh.Add(late...)
	if _, err := fresh.AwaitConfigured(r.ctx); err != nil {
		return err
	}
	if err := r.still(2 * time.Second); err != nil {
		return err
	}
	before := f.Stats()
	named, err := r.offenders()
	if err != nil {
		return err
	}
	quiet, attacked, outcomes := roundResults{}, roundResults{}, map[string]hostile.Outcome{}
	for round := range attackRounds {
		r.log("round %d of %d: without attackers", round+1, attackRounds)
		if err := quiet.logs(r, func() error { return quiet.round(r, f, fresh) }); err != nil {
			return err
		}
		r.log("round %d of %d: with attackers", round+1, attackRounds)
		err := attacked.logs(r, func() error {
			return r.underAttack(evil, outcomes, func() error { return attacked.round(r, f, fresh) })
		})
		if err != nil {
			return err
		}
		if err := r.still(2 * time.Second); err != nil {
			return err
		}
	}
	r.compareRounds(quiet, attacked)
	r.judge("honest proxies: streams refused or connections lost", float64(hindered(f.Stats().Sub(before))), "", 0)
	return r.tell(outcomes, evil, named)
}

// round measures the service that honest proxies get.
func (s *roundResults) round(r *rig, f, fresh *fleet.Fleet) error {
	before, err := r.read(f)
	if err != nil {
		return err
	}
	latencies, err := r.loneChanges(f, r.scenario.events)
	if err != nil {
		return err
	}
	s.latencies = append(s.latencies, latencies...)
	began := time.Now()
	fresh.Cut(true)
	last, err := fresh.AwaitConfigured(r.ctx)
	if err != nil {
		return err
	}
	s.onboard = append(s.onboard, last.Sub(began).Seconds())
	cost, err := r.since(before, f)
	if err != nil {
		return err
	}
	u, err := r.server().Usage()
	if err != nil {
		return err
	}
	lasted := cost.at.Sub(before.at).Seconds()
	s.cpu, s.rss = append(s.cpu, cost.server.Seconds()/lasted), append(s.rss, float64(u.RSS))
	return nil
}

// logs records how much the server logs during some work.
func (s *roundResults) logs(r *rig, work func() error) error {
	said, err := r.server().LogSize()
	if err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	now, err := r.server().LogSize()
	s.logged = append(s.logged, float64(now-said))
	return err
}

// compareRounds compares the two kinds of rounds.
func (r *rig) compareRounds(quiet, attacked roundResults) {
	compare := func(metric string, was, is float64, unit string) {
		r.add(metric+", without attackers", was, unit)
		r.add(metric+", with", is, unit)
		r.judge(metric+", with / without", is/was, "x", maxSlowdown)
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		compare("lone change, "+q.name, report.Milliseconds(report.Quantile(quiet.latencies, q.q)), report.Milliseconds(report.Quantile(attacked.latencies, q.q)), "ms")
	}
	compare(fmt.Sprintf("%d newcomers configured after (median)", newcomers), report.Median(quiet.onboard), report.Median(attacked.onboard), "s")
	r.add("server CPU, without attackers", report.Median(quiet.cpu), "CPUs")
	r.add("server CPU, with", report.Median(attacked.cpu), "CPUs")
	r.add("RSS, without attackers", quiet.rss[0]/mebi, "MiB")
	r.judge("RSS, with", slices.Max(attacked.rss)/mebi, "MiB", maxSlowdown*200)
	r.add("log of a round, without attackers", slices.Max(quiet.logged)/kilo, "kB")
	r.judge("log of a round, with", slices.Max(attacked.logged)/kilo, "kB", 50)
}

// harm counts how often honest proxies were affected.
func hindered(s fleet.Stats) int64 {
	n := s.Refusals()
	for _, lost := range s.Lost {
		n += lost
	}
	return n
}

// offenders returns the clients that the server names, and how often.
func (r *rig) offenders() (map[string]float64, error) {
	m, err := r.server().Metrics(r.ctx)
	if err != nil {
		return nil, err
	}
	named := map[string]float64{}
	for series, n := range m {
		if offender, ok := offenderOf(series); ok {
			named[offender] += n
		}
	}
	return named, nil
}

// tell reports what the attackers tried and which refusals the server counted during that time.
func (r *rig) tell(outcomes map[string]hostile.Outcome, evil world.Pod, before map[string]float64) error {
	for _, kind := range slices.Sorted(maps.Keys(outcomes)) {
		o := outcomes[kind]
		r.add("tried: "+kind, float64(o.Tried), "")
		r.add("  ended by the server", float64(o.Cut), "")
		r.add("  open at a time, at the most", float64(o.Held), "")
	}
	m, err := r.server().Metrics(r.ctx)
	if err != nil {
		return err
	}
	for _, refused := range []struct{ what, metric, label string }{
		{"refused streams", "osm_xds_refused_streams_total", "reason"},
		{"refused connections", "osm_xds_refused_connections_total", "limit"},
	} {
		byReason, _ := m.ByLabel(refused.metric, refused.label)
		for _, reason := range slices.Sorted(maps.Keys(byReason)) {
			r.add(refused.what+": "+reason, byReason[reason], "")
		}
	}
	guilty := []string{
		"pod " + evil.String(), "identity " + evil.Namespace + "/" + evil.Account,
		"address " + meshedAttacker, "address " + unmeshedAttacker,
	}
	now, err := r.offenders()
	if err != nil {
		return err
	}
	var named, innocent float64
	for offender, n := range now {
		n -= before[offender]
		switch {
		case slices.Contains(guilty, offender):
			named += n
		case n > 0:
			r.log("the metric names %s", offender)
			innocent += n
		}
	}
	r.add("refusals that name an attacker", named, "")
	r.judge("refusals that name anybody else", innocent, "", 0)
	return nil
}

// offenderOf reads a series of osm_xds_limited_total.
func offenderOf(series string) (string, bool) {
	rest, ok := strings.CutPrefix(series, "osm_xds_limited_total{")
	if !ok {
		return "", false
	}
	_, rest, ok = strings.Cut(rest, `offender="`)
	offender, _, found := strings.Cut(rest, `"`)
	return offender, ok && found
}

// underAttack runs work during attacks, and adds up what the attackers did.
func (r *rig) underAttack(evil world.Pod, sum map[string]hostile.Outcome, work func() error) error {
	plan, err := r.plan(evil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(r.ctx, plan.Lasts+time.Minute)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the attackers: %w", err)
	}
	// In a cluster they have their own CPUs.
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", self, "-attack")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, r.errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the attackers: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the attackers: %w", err)
	}
	err = json.NewEncoder(in).Encode(plan)
	if err == nil {
		err = r.wait(5 * time.Second) // until all attacks are running
	}
	if err == nil {
		err = work()
	}
	closed := in.Close() // which ends them
	if err := errors.Join(err, closed, cmd.Wait()); err != nil {
		return fmt.Errorf("under attack: %w", err)
	}
	var outcomes map[string]hostile.Outcome
	if err := json.Unmarshal(out.Bytes(), &outcomes); err != nil {
		return fmt.Errorf("read what the attackers did: %w", err)
	}
	for kind, o := range outcomes {
		was := sum[kind]
		sum[kind] = hostile.Outcome{Tried: was.Tried + o.Tried, Cut: was.Cut + o.Cut, Held: max(was.Held, o.Held)}
	}
	return nil
}

// plan returns the attackers' instructions.
func (r *rig) plan(evil world.Pod) (hostile.Plan, error) {
	proxies, err := r.proxies(evil)
	if err != nil {
		return hostile.Plan{}, err
	}
	config := proxies[0].TLS
	certificate, key, err := server.PEM(config.Certificates[0])
	if err != nil {
		return hostile.Plan{}, err
	}
	return hostile.Plan{
		Target: r.server().XDS, ServerName: config.ServerName, Root: r.root.Bundle(), Node: evil.String(),
		Certificate: certificate, Key: key, Meshed: meshedAttacker, Unmeshed: unmeshedAttacker, Lasts: 5 * time.Minute,
	}, nil
}
