package mutate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Verdict is what a run says of a mutant.
type Verdict string

// The verdicts. Only Red is good.
const (
	Red      Verdict = "red"      // the tests notice the fault
	Survived Verdict = "survived" // they pass, or are skipped, in spite of it
	Invalid  Verdict = "invalid"  // it does not apply or compile, or the tests fail without it
)

// Result is the outcome for one mutant.
type Result struct {
	Name    string  `json:"name"`
	Claim   string  `json:"claim"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"` // the first failure's line, or what is wrong
	Seconds float64 `json:"seconds"`
}

// Runner runs the tests of mutants with the go command.
type Runner struct {
	Root  string        // of the repository
	Limit time.Duration // for the tests of one mutant; a mutant that makes them hang is red
	sound map[string]error
}

// Run plants the mutant and runs its tests. The tests must pass without the fault first.
func (r *Runner) Run(ctx context.Context, m Mutant) Result {
	start := time.Now()
	verdict, why := r.judge(ctx, m)
	return Result{Name: m.Name, Claim: m.Claim, Verdict: verdict, Why: why, Seconds: time.Since(start).Seconds()}
}

func (r *Runner) judge(ctx context.Context, m Mutant) (Verdict, string) {
	if err := r.passes(ctx, m); err != nil {
		return Invalid, err.Error()
	}
	overlay, remove, err := r.overlay(m)
	if err != nil {
		return Invalid, err.Error()
	}
	defer remove()
	out, err := r.test(ctx, m, "-count=1", "-overlay", overlay)
	switch {
	case err != nil:
		return Invalid, err.Error()
	case out.built != "":
		return Invalid, "the mutant does not compile: " + out.built
	case out.failed != "":
		return Red, out.failed
	case out.passed == 0:
		return Survived, "no test ran"
	}
	return Survived, fmt.Sprintf("%d tests passed", out.passed)
}

// passes runs the tests without the fault, once for all mutants that they guard against. They run now, not out of the
// go command's cache: on a busy machine a test may fail for want of time.
func (r *Runner) passes(ctx context.Context, m Mutant) error {
	key := m.Package + " " + m.Test
	if err, known := r.sound[key]; known {
		return err
	}
	out, err := r.test(ctx, m, "-count=1")
	switch {
	case err != nil:
	case out.built != "":
		err = errors.New("the tests do not compile: " + out.built)
	case out.failed != "":
		err = errors.New("the tests fail without the fault: " + out.failed)
	case out.passed == 0:
		err = fmt.Errorf("no test in %s matches %s, or all are skipped", m.Package, m.Test)
	}
	if r.sound == nil {
		r.sound = map[string]error{}
	}
	r.sound[key] = err
	return err
}

// overlay writes the changed file and what tells the go command of it to a folder of its own.
func (r *Runner) overlay(m Mutant) (path string, remove func(), err error) {
	changed, err := m.Apply(r.Root)
	if err != nil {
		return "", nil, err
	}
	folder, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(folder) } // of the system's temporary files: it removes what is left
	file := filepath.Join(folder, "changed"+filepath.Ext(m.File))
	path = filepath.Join(folder, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(r.Root, m.File): file}})
	if err == nil {
		err = errors.Join(os.WriteFile(file, changed, 0o600), os.WriteFile(path, text, 0o600))
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// outcome is what the go command said.
type outcome struct {
	passed int    // tests
	failed string // first line that tells of a failure
	built  string // why it did not compile
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action string
	Test   string
	Output string
}

// failure is a line with which a test or a crash tells why.
var failure = regexp.MustCompile(`_test\.go:\d+: |^panic: |^fatal error: |WARNING: DATA RACE`)

func (r *Runner) test(ctx context.Context, m Mutant, flags ...string) (outcome, error) {
	args := append([]string{"test", "-json", "-timeout", r.Limit.String(), "-run", m.Test}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, m.Package)...)
	ownGroup(cmd)
	cmd.Dir = r.Root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if ctx.Err() != nil {
		return outcome{}, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("run the tests: %w", err)
	}
	out := read(text)
	if err != nil && out.failed == "" && out.built == "" {
		return outcome{}, fmt.Errorf("run the tests: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// read reads the output of go test -json. A failure without a line of a test's own is told by its last words.
func read(text []byte) outcome {
	var out outcome
	var fails, broken bool
	var said, last string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // not of test2json
		}
		words := strings.TrimSpace(e.Output)
		switch e.Action {
		case "pass":
			if e.Test != "" {
				out.passed++
			}
		case "fail":
			fails = true
		case "build-fail":
			broken = true
		case "build-output":
			if out.built == "" && !strings.HasPrefix(words, "#") {
				out.built = words
			}
		case "output":
			if said == "" && failure.MatchString(words) {
				said = words
			}
			if words != "" && words != "FAIL" && !strings.HasPrefix(words, "FAIL\t") {
				last = words
			}
		}
	}
	if !broken {
		out.built = "" // a warning of the compiler
	} else if out.built == "" {
		out.built = "see go vet"
	}
	if fails && !broken {
		out.failed = said
		if said == "" {
			out.failed = "failed: " + last
		}
	}
	return out
}
