package mutate

import (
	"context"
	"errors"
	"go/format"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = "../.."

func load(t *testing.T) []Mutant {
	t.Helper()
	mutants, err := Load("mutants")
	if err != nil {
		t.Fatal(err)
	}
	return mutants
}

// Each mutant applies to the product as it is, and names tests that exist. Whether these notice it is what
// make mutate shows.
func TestMutantsApply(t *testing.T) {
	for _, m := range load(t) {
		changed, err := m.Apply(root)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if _, err := format.Source(changed); err != nil {
			t.Errorf("%s: %s is not Go any more: %v", m.Name, m.File, err)
		}
		if !strings.HasPrefix(m.File, "pkg/") || strings.HasSuffix(m.File, "_test.go") {
			t.Errorf("%s: %s is not part of the product", m.Name, m.File)
		}
		pattern, err := regexp.Compile(m.Test)
		if err != nil {
			t.Errorf("%s: test: %v", m.Name, err)
			continue
		}
		if !slices.ContainsFunc(testsOf(t, m.Package), pattern.MatchString) {
			t.Errorf("%s: no test of %s matches %s", m.Name, m.Package, m.Test)
		}
	}
}

func testsOf(t *testing.T, pkg string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
	}
	return names
}

// What docs/ha.md calls proven has a mutant that contradicts it, and a mutant contradicts a claim of that page.
func TestProvenClaimsHaveMutants(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/ha.md")
	if err != nil {
		t.Fatal(err)
	}
	known, proven := map[string]bool{}, map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (HA-\d+) \| (\w+) \|`).FindAllStringSubmatch(string(text), -1) {
		known[row[1]] = true
		proven[row[1]] = row[2] == "proven"
	}
	if len(known) != 18 {
		t.Fatalf("docs/ha.md has %d claims, want 18", len(known))
	}
	mutants := map[string]bool{}
	for _, m := range load(t) {
		if !known[m.Claim] {
			t.Errorf("%s contradicts %s, which docs/ha.md does not list", m.Name, m.Claim)
		}
		mutants[m.Claim] = true
	}
	for _, claim := range slices.Sorted(maps.Keys(proven)) {
		if proven[claim] && !mutants[claim] {
			t.Errorf("docs/ha.md calls %s proven, and no mutant contradicts it", claim)
		}
	}
}

// The verdicts, on a module of its own.
func TestRun(t *testing.T) {
	module := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/sum\n\ngo 1.26\n")
	write("sum.go", "package sum\n\nfunc Sum(a, b int) int { return a + b }\n\nfunc Unused() int { return 1 }\n")
	write("sum_test.go", `package sum

import "testing"

func TestSum(t *testing.T) {
	if got := Sum(1, 2); got != 3 {
		t.Errorf("1 + 2 = %d", got)
	}
}

func TestBroken(t *testing.T) { t.Fatal("always") }

func TestSkipped(t *testing.T) { t.Skip("never") }
`)
	for _, tt := range []struct {
		name, test, old, new string
		want                 Verdict
		why                  string
	}{
		{"noticed", "^TestSum$", "a + b", "a - b", Red, "sum_test.go:7: 1 + 2 = -1"},
		{"crash", "^TestSum$", "return a + b", "panic(a)", Red, "panic: 1"},
		{"not noticed", "^TestSum$", "return 1", "return 2", Survived, "1 tests passed"},
		{"does not compile", "^TestSum$", "a + b", "a + c", Invalid, "does not compile"},
		{"does not apply", "^TestSum$", "a * b", "a", Invalid, "occurs 0 times"},
		{"applies twice", "^TestSum$", "return", "panic", Invalid, "occurs 2 times"},
		{"red without it", "^TestBroken$", "a + b", "a - b", Invalid, "fail without the fault"},
		{"skipped", "^TestSkipped$", "a + b", "a - b", Invalid, "all are skipped"},
		{"no such test", "^TestOther$", "a + b", "a - b", Invalid, "no test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runner := &Runner{Root: module, Limit: time.Minute}
			got := runner.Run(t.Context(), Mutant{File: "sum.go", Package: ".", Test: tt.test, Edits: []Edit{{tt.old, tt.new}}})
			if got.Verdict != tt.want || !strings.Contains(got.Why, tt.why) {
				t.Errorf("got %s: %s; want %s: %s", got.Verdict, got.Why, tt.want, tt.why)
			}
		})
	}
	text, err := os.ReadFile(filepath.Join(module, "sum.go"))
	if err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the working tree was changed: %q, %v", text, err)
	}
}

// The end of the context ends the tests that run, too.
func TestRunEndsWithItsContext(t *testing.T) {
	module := t.TempDir()
	fifo := filepath.Join(module, "running")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": "module example.com/endless\n\ngo 1.26\n",
		"endless_test.go": `package endless

import (
	"os"
	"testing"
)

func TestEndless(t *testing.T) {
	f, err := os.OpenFile("running", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("started")
	select {}
}
`,
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	results := make(chan Result, 1)
	go func() {
		results <- (&Runner{Root: module, Limit: 10 * time.Minute}).Run(ctx, Mutant{Package: ".", Test: "^TestEndless$"})
	}()
	running, err := os.Open(fifo) // returns when the test has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Close() }()
	stopped := errors.New("stopped")
	cancel(stopped)
	if got := <-results; got.Verdict != Invalid || got.Why != stopped.Error() {
		t.Errorf("got %+v", got)
	}
	if _, err := io.ReadAll(running); err != nil { // ends when no process holds the other end
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	const fields = "A fault.\n\nclaim: HA-1\nfile: pkg/a.go\npackage: ./pkg\ntest: TestA\n"
	for name, tt := range map[string]struct{ text, want string }{
		"whole":          {fields + "-- old --\na\n-- new --\nb\n-- old --\nc\n-- new --\n", ""},
		"no claim":       {strings.Replace(fields, "claim", "clam", 1) + "-- old --\na\n-- new --\nb\n", `no line "claim: ..."`},
		"no edit":        {fields, "want a description"},
		"half an edit":   {fields + "-- old --\na\n", "want a description"},
		"wrong order":    {fields + "-- new --\na\n-- old --\nb\n", `section 1 is "new"`},
		"no description": {strings.TrimPrefix(fields, "A fault.") + "-- old --\na\n-- new --\nb\n", "want a description"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parse([]byte(tt.text))
			switch {
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("err = %v, want %s", err, tt.want)
			case tt.want == "" && (err != nil || len(m.Edits) != 2 || m.Edits[1] != Edit{"c", ""} || m.Claim != "HA-1"):
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

// Over many seeds every mutant has its turn, and a seed always chooses the same.
func TestSome(t *testing.T) {
	mutants := load(t)
	seen := map[string]bool{}
	for seed := range 200 {
		text := string(rune('a'+seed%26)) + strings.Repeat("x", seed)
		chosen := some(mutants, 3, text)
		if len(chosen) != 3 || !slices.EqualFunc(chosen, some(mutants, 3, text), func(a, b Mutant) bool { return a.Name == b.Name }) {
			t.Fatalf("seed %q chooses %d, or others the second time", text, len(chosen))
		}
		for _, m := range chosen {
			seen[m.Name] = true
		}
	}
	if len(seen) != len(mutants) {
		t.Errorf("only %d of %d mutants had their turn", len(seen), len(mutants))
	}
	if len(some(mutants, 0, "")) != len(mutants) {
		t.Error("0 does not mean all")
	}
}
