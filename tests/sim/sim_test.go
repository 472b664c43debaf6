package sim

import (
	"io"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/osm-edge/osm/tests/sim/fleet"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMistakesAreExplained(t *testing.T) {
	for line, want := range map[string]string{
		"":                           "want either -run NAMES, -small or -list",
		"-run nosuch":                `no scenario "nosuch": see -list`,
		"-run lone-500 -small":       "want either",
		"-run lone-500 -o xml":       "table or json",
		"-run lone-500 -update":      "-update rewrites",
		"-run lone-500 -proxies -1":  "-proxies -1",
		"-run lone-500 extra":        `unexpected argument "extra"`,
		"-run soak -changes 5":       "-changes must be",
		"-run lone-500 -nosuch":      "not defined",
		"-run lone-500,,onboard-100": `no scenario ""`,
	} {
		if _, err := parse(strings.Fields(line), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
}

func TestScenariosAreChosenAndSized(t *testing.T) {
	o, err := parse(strings.Fields("-run unseen,lone-500 -services 3 -pods 2 -proxies 4 -events 5 -duration 1m -o json"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := o.choose()
	if err != nil || len(chosen) != 2 || chosen[0].name != "unseen" || !o.JSON {
		t.Fatalf("chose %v, %v", chosen, err)
	}
	s := o.sized(chosen[1])
	if s.shape.Services != 3 || s.shape.Pods != 2 || s.proxies != 4 || s.events != 5 || s.lasts.Minutes() != 1 {
		t.Errorf("got %+v", s)
	}
	if o.sized(chosen[1]).replicas != chosen[1].replicas {
		t.Error("a size that was not given was changed")
	}
	all, err := parse([]string{"-run", "all"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if chosen, _ := all.choose(); len(chosen) != len(scenarios()) {
		t.Errorf("all returns %d of %d", len(chosen), len(scenarios()))
	}
}

func TestScenariosAreWhole(t *testing.T) {
	names := map[string]bool{}
	for _, s := range scenarios() {
		if s.about == "" || s.run == nil || names[s.name] {
			t.Errorf("scenario %q is incomplete", s.name)
		}
		names[s.name] = true
		if err := s.shape.Validate(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if s.proxies > s.shape.Services*s.shape.Pods {
			t.Errorf("%s has more proxies than pods", s.name)
		}
	}
	var out strings.Builder
	if err := Run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil || strings.Count(out.String(), "\n") != len(names) {
		t.Errorf("lists %q, %v", out.String(), err)
	}
}

func TestDriftComparesTheSecondTenthWithTheLast(t *testing.T) {
	l := &soakLoad{rig: &rig{scenario: scenario{name: "soak"}, report: &report.Report{}}}
	for i := range 101 {
		s := sample{share: float64(i) / 100, rss: 100, goroutines: 7}
		switch {
		case i < 10:
			s.rss = 10 // warming up does not count
		case i >= 90:
			s.rss = 120
		case i == 15:
			s.rss = 900 // nor does one reading that jumps
		}
		l.samples = append(l.samples, s)
	}
	l.judgeDrift("RSS", l.median(0.1, 0.2, rss), l.median(0.9, 1, rss), "MiB")
	l.judgeDrift("goroutines", l.median(0.1, 0.2, goroutines), l.median(0.9, 1, goroutines), "")
	drift, none := l.report.Rows[2], l.report.Rows[5]
	if drift.Metric != "RSS, drift" || drift.Value < 19.9 || drift.Value > 20.1 || drift.OK() {
		t.Errorf("got %+v, want a drift of 20 %% that is too much", drift)
	}
	if none.Value != 0 || !none.OK() {
		t.Errorf("got %+v, want no drift", none)
	}
}

// TestGateCounts gives the gate two readings and checks the resulting counts.
func TestGateCounts(t *testing.T) {
	g := &gateRun{before: gateReading{built: map[string]float64{"a eds": 5, "b eds": 5}}}
	g.before.delta.Messages[fleet.EDS] = 10
	now := gateReading{built: map[string]float64{"b eds": 6, "b cds": 0}} // replica a was killed
	now.delta.Messages[fleet.EDS], now.delta.Bytes[fleet.EDS] = 26, 4336
	now.delta.Messages[fleet.SDS] = 1
	want := []report.Count{
		{Step: "s", What: "delta eds", N: 16, Unit: "messages"}, {Step: "s", What: "delta eds", N: 4336, Unit: "bytes"},
		{Step: "s", What: "delta sds", N: 1, Unit: "messages"}, {Step: "s", What: "built eds", N: 1, Unit: "resources"},
	}
	if d := report.Differences(g.count("s", now), want); len(d) != 0 {
		t.Error(d)
	}
	g.expected = want
	if !g.enough("s", g.count("s", now)) || g.enough("s", nil) || !g.enough("another step", nil) {
		t.Error("enough is wrong")
	}
	g.loose = true
	if d := report.Differences(g.count("s", now), want); len(d) != 1 || !strings.Contains(d[0], "sds") {
		t.Errorf("without secrets: %v", d)
	}
}

// TestRulesArePlanted compiles the package that the scenario groups changes.
func TestRulesArePlanted(t *testing.T) {
	repo, err := server.Repo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := plantRules(repo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-overlay", overlay, "-deps", "-compiled", "./pkg/controlplane/ingest")
	cmd.Dir = repo
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/tests/sim/rules\n") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := plantRules(t.TempDir(), t.TempDir()); err == nil {
		t.Error("planted rules in a nonexistent source")
	}
}

func TestProxiesToldAreCompared(t *testing.T) {
	before := map[string]int64{"told": 1, "also told": 4, "silent": 2, "missed": 7, "mistaken": 3}
	now := map[string]int64{"told": 2, "also told": 6, "silent": 2, "missed": 7, "mistaken": 4}
	told, lacking, wrong := compareTold(before, now, map[string]bool{"told": true, "also told": true, "missed": true, "not of the fleet": true})
	if told != 3 || lacking != 1 || wrong != 1 {
		t.Errorf("got %d, lacking %d, wrong %d; want 3, 1, 1", told, lacking, wrong)
	}
}

func TestClientsOfAGroup(t *testing.T) {
	for groups, want := range map[int]int{1: 1000, 2: 1000, 10: 200, 1000: 2} {
		for _, server := range []int{0, 7, 999} {
			got := 0
			for client := range 1000 {
				if mayReach(groups, client, server) {
					got++
				}
			}
			if got != want || !mayReach(groups, server, server) {
				t.Errorf("%d groups: %d of 1000 may reach %d, want %d", groups, got, server, want)
			}
		}
	}
	if !mayReach(10, 9, 0) || mayReach(10, 0, 9) {
		t.Error("want the last group to reach the first one, and not the other way round")
	}
}
