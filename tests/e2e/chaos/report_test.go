package chaos_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/osm-edge/osm/tests/e2e/chaos"
)

var update = flag.Bool("update", false, "rewrite the table in docs/ha.md")

const (
	committed = "testdata/report.json"
	document  = "../../../docs/ha.md"
	begin     = "<!-- made by: go test ./tests/e2e/chaos -update -->\n"
	end       = "<!-- end of the table -->\n"
)

// The table in the documentation is that of the committed report.
func TestDocument(t *testing.T) {
	report, err := chaos.Read(committed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s does not have %q before %q", document, begin, end)
	}
	want := report.Markdown()
	if *update {
		if err := os.WriteFile(document, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the table in %s is not that of %s: run go test ./tests/e2e/chaos -update", document, committed)
	}
}

func TestMarkdown(t *testing.T) {
	report := chaos.Report{
		Commit: "v1", Date: "2026-02-03", Machine: "a machine",
		Faults: []chaos.Fault{
			{Name: "nothing", Sent: 100, Slowest: 12, InSync: 0.4, Held: true},
			{Name: "cut", Sent: 50, Lost: 2, OnNode: 7, Stalled: 3, Slowest: 1200, InSync: -1, Lasted: 20, Proxies: 7, Why: "in flight", Held: true},
			{Name: "wait", Sent: 5, InSync: 61, Why: "slow"},
			{Name: "slow", Sent: 6, Lasted: 1, Meanwhile: 7, Proxies: 7, Held: true},
		},
	}
	const want = `4 faults on a machine (2026-02-03, v1): 161 requests, 2 lost, 3 stalled.

| fault | sent | lost | stalled | slowest | in sync after |
|---|---|---|---|---|---|
| nothing | 100 | 0 | 0 | 12ms | 0.4 s |
| cut, for 20 s (1) | 50 | 2, and 7 of clients on the node | 3 | 1.2s | never |
| wait (2) **(missed)** | 5 | 0 | 0 | 0s | 61.0 s |
| slow, for 1 s | 6 | 0 | 0 | 0s | meanwhile |

1. In flight.
2. Slow.
`
	if got := report.Markdown(); got != want {
		t.Errorf("Markdown() =\n%s\nwant\n%s", got, want)
	}
}

func TestPut(t *testing.T) {
	var report chaos.Report
	for _, f := range []chaos.Fault{{Name: "cut", Sent: 1}, {Name: "kill", Sent: 2}, {Name: "cut", Sent: 3}} {
		report.Put(f)
	}
	if want := []chaos.Fault{{Name: "cut", Sent: 3}, {Name: "kill", Sent: 2}}; !reflect.DeepEqual(report.Faults, want) {
		t.Errorf("faults = %+v, want %+v", report.Faults, want)
	}
	report.Put(chaos.Fault{Name: "renamed"})
	report.Keep([]string{"kill", "new", "cut"})
	if want := []chaos.Fault{{Name: "kill", Sent: 2}, {Name: "cut", Sent: 3}}; !reflect.DeepEqual(report.Faults, want) {
		t.Errorf("after Keep faults = %+v, want %+v", report.Faults, want)
	}
}

func TestReadWhatWasWritten(t *testing.T) {
	report := chaos.Report{Commit: "v1", Faults: []chaos.Fault{{Name: "cut", Sent: 50, Lost: 2, InSync: 0.1, Held: true}}}
	var text bytes.Buffer
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := chaos.Read(file)
	if err != nil || !reflect.DeepEqual(got, report) {
		t.Errorf("Read() = %+v, %v, want %+v", got, err, report)
	}
}
