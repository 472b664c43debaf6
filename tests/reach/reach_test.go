package reach

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// recorder is a target that remembers what it is told.
type recorder struct {
	failed   bool
	cleanups []func()
	said     []string
}

func (*recorder) Helper()            {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) end() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func TestOutcomes(t *testing.T) {
	if !runsAllSeeds(option("test.fuzz"), option("test.run")) {
		t.Skip("only some seeds were asked for")
	}
	tests := map[string]struct {
		notes  []error
		failed bool
		want   string // of what is complained about
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
				t.Fatalf("judged before the end: %q", r.said)
			}
			r.end()
			var got []string
			for _, text := range r.said {
				name, _, _ := strings.Cut(text, ":")
				got = append(got, name)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("said %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOutcomesOfItsOwn(t *testing.T) {
	r := &recorder{}
	outcomes := All(r, "left", "right", "ahead")
	outcomes.Note("left")
	outcomes.Note("ahead")
	r.end()
	if len(r.said) != 1 || !strings.HasPrefix(r.said[0], "no seed is right:") {
		t.Errorf("said %q", r.said)
	}
	defer func() {
		if recover() == nil {
			t.Error("an outcome that was not named was taken")
		}
	}()
	outcomes.Note("astray")
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
