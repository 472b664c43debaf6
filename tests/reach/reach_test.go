package reach

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// recorder is a target that records its calls.
type recorder struct {
	failed   bool
	cleanups []func()
	said     []string
}

func (*recorder) Helper()            {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.said, r.failed = append(r.said, fmt.Sprintf(format, args...)), true
}

func (r *recorder) end() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func TestOutcomes(t *testing.T) {
	skipUnlessAllSeeds(t)
	tests := map[string]struct {
		notes  []error
		failed bool
		want   string // part of the error
	}{
		"both":            {notes: []error{nil, errors.New("x"), nil}},
		"none accepted":   {notes: []error{errors.New("x")}, want: "no seed is accepted"},
		"none refused":    {notes: []error{nil}, want: "no seed is refused"},
		"no seed":         {want: "no seed is accepted no seed is refused"},
		"a seed failed":   {failed: true},
		"failed and half": {notes: []error{nil}, failed: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &recorder{failed: tt.failed}
			outcomes := Both(r)
			for _, err := range tt.notes {
				outcomes.Error(err)
			}
			if len(r.said) > 0 {
				t.Fatalf("reported before the end: %q", r.said)
			}
			r.end()
			var got []string
			for _, text := range r.said {
				name, _, _ := strings.Cut(text, ",")
				got = append(got, name)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("said %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOutcomesOfItsOwn(t *testing.T) {
	skipUnlessAllSeeds(t)
	r := &recorder{}
	outcomes := All(r, "left", "right", "ahead")
	outcomes.Note("left")
	outcomes.Note("ahead")
	r.end()
	if len(r.said) != 1 || !strings.HasPrefix(r.said[0], "no seed is right,") {
		t.Errorf("said %q", r.said)
	}
}

// An outcome that is not among the named ones fails the target, and does not stand for another.
func TestOutcomesThatAreNotNamed(t *testing.T) {
	skipUnlessAllSeeds(t)
	r := &recorder{}
	outcomes := All(r, "left", "right")
	for _, outcome := range []string{"left", "astray", "right", "astray", "above"} {
		outcomes.Note(outcome)
	}
	r.end()
	want := []string{"outcome above was noted but not named", "outcome astray was noted but not named"}
	if len(r.said) != len(want) {
		t.Fatalf("said %q", r.said)
	}
	for i, text := range r.said {
		if !strings.HasPrefix(text, want[i]) {
			t.Errorf("said %q, want %q", text, want[i])
		}
	}
}

// skipUnlessAllSeeds skips a test of the verdict where there is none.
func skipUnlessAllSeeds(t *testing.T) {
	t.Helper()
	if !runsAllSeeds(option("test.fuzz"), option("test.run")) {
		t.Skip("only some seeds were asked for")
	}
}

func TestRunsAllSeeds(t *testing.T) {
	for _, tt := range []struct {
		fuzz, run string
		want      bool
	}{
		{"", "", true},
		{"", "^Fuzz", true},
		{"", "FuzzParse/seed#1", false}, // a part cannot show every outcome
		{"FuzzParse", "^$", false},      // seeds run in workers
	} {
		if got := runsAllSeeds(tt.fuzz, tt.run); got != tt.want {
			t.Errorf("fuzz %q, run %q: %t", tt.fuzz, tt.run, got)
		}
	}
}
