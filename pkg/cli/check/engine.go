package check

import (
	"context"
	"errors"
	"strings"
)

// Check is one question about a cluster. Run returns what it found, which may be empty, or an error
// that says why the check failed and how to fix that; see Warning and Skip for milder ones.
type Check struct {
	ID          string
	Description string
	Fatal       bool // when it fails, the checks after it make no sense and are skipped
	Run         func(ctx context.Context) (string, error)
}

// quiet is for a check that has nothing to tell when it passes.
func quiet(run func(ctx context.Context) error) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return "", run(ctx) }
}

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	Passed  Status = "passed"
	Warned  Status = "warning"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Result is the outcome of one check, with what it found or the reason why it did not pass.
type Result struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	Status      Status `json:"status"`
	Message     string `json:"message,omitempty"`
}

// warning is a failure that need not stop anything.
type warning struct{ error }

// Warning makes a check's failure a warning.
func Warning(err error) error { return warning{err} }

// skip is the reason why a question does not arise.
type skip struct{ error }

// Skip makes a check's error the reason why there is nothing to judge.
func Skip(err error) error { return skip{err} }

// Run runs the checks in order and tells report, which may be nil, about each as it ends.
func Run(ctx context.Context, checks []Check, report func(Result)) []Result {
	results := make([]Result, 0, len(checks))
	stop := ""
	for _, check := range checks {
		result := Result{ID: check.ID, Description: check.Description, Status: Skipped, Message: stop}
		if stop == "" {
			result = run(ctx, check)
			if result.Status == Failed && check.Fatal {
				stop = "not run because " + check.ID + " failed"
			}
		}
		if report != nil {
			report(result)
		}
		results = append(results, result)
	}
	return results
}

func run(ctx context.Context, check Check) Result {
	result := Result{ID: check.ID, Description: check.Description, Status: Passed}
	found, err := check.Run(ctx)
	var (
		mild warning
		vain skip
	)
	switch {
	case err == nil:
		result.Message = found
		return result
	case errors.As(err, &mild):
		result.Status = Warned
	case errors.As(err, &vain):
		result.Status = Skipped
	default:
		result.Status = Failed
	}
	result.Message = err.Error()
	return result
}

// FailedError says which checks failed.
type FailedError struct {
	Results []Result // the failed ones only
}

func (e *FailedError) Error() string {
	messages := make([]string, 0, len(e.Results))
	for _, result := range e.Results {
		messages = append(messages, result.Message)
	}
	return strings.Join(messages, "\n")
}

// Err returns a *FailedError when any check failed.
func Err(results []Result) error {
	var failed []Result
	for _, result := range results {
		if result.Status == Failed {
			failed = append(failed, result)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &FailedError{failed}
}
