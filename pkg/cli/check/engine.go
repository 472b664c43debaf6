package check

import (
	"context"
	"errors"
	"strings"
)

// Check is one question about a cluster. Run returns a finding, which may be empty, or an error that
// says why the check failed and how to fix it. An error may be a Warning or a Skip instead of a failure.
type Check struct {
	ID          string
	Description string
	Fatal       bool // if it fails, it explains all following checks, which are not run
	Run         func(ctx context.Context) (string, error)
}

// quiet adapts a check that has no finding when it passes.
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

// Result is the outcome of one check, with its finding or the reason why it did not pass.
type Result struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	Status      Status `json:"status"`
	Message     string `json:"message,omitempty"`
	// ExplainedBy is the id of the failed check that explains why this one was skipped.
	ExplainedBy string `json:"explainedBy,omitempty"`
}

// warning is a failure that does not stop a command.
type warning struct{ error }

func (w warning) Unwrap() error { return w.error }

// Warning makes a check's failure a warning.
func Warning(err error) error { return warning{err} }

// skip is the reason why a check does not apply.
type skip struct{ error }

func (s skip) Unwrap() error { return s.error }

// Skip makes a check's error the reason why the check does not apply.
func Skip(err error) error { return skip{err} }

// consequence is a failure or a warning that says nothing new if other checks have failed.
type consequence struct {
	error
	of []string // their ids
}

func (c consequence) Unwrap() error { return c.error }

// Consequence makes a check's error a consequence of other checks: if each of them has failed, or is a consequence itself,
// the check is skipped and explained by the first one. Otherwise it is an error like any other, so that no failure is
// hidden without one that is shown.
func Consequence(err error, of ...string) error { return consequence{err, of} }

// Run runs the checks in order. It calls report, which may be nil, with each result.
func Run(ctx context.Context, checks []Check, report func(Result)) []Result {
	results := make([]Result, 0, len(checks))
	causes := map[string]string{} // of each failed or explained check: the failed check that is shown
	fatal := ""
	for _, check := range checks {
		result := Result{ID: check.ID, Description: check.Description, Status: Skipped, Message: "not run because " + fatal + " failed", ExplainedBy: fatal}
		if fatal == "" {
			result = run(ctx, check, causes)
		}
		if result.Status == Failed {
			causes[check.ID] = check.ID
			if check.Fatal {
				fatal = check.ID
			}
		}
		if result.ExplainedBy != "" {
			causes[check.ID] = result.ExplainedBy
		}
		if report != nil {
			report(result)
		}
		results = append(results, result)
	}
	return results
}

// explanation returns the shown failure that explains an error, or "".
func explanation(err error, causes map[string]string) string {
	var c consequence
	if !errors.As(err, &c) || len(c.of) == 0 {
		return ""
	}
	for _, id := range c.of {
		if causes[id] == "" {
			return ""
		}
	}
	return causes[c.of[0]]
}

func run(ctx context.Context, check Check, causes map[string]string) Result {
	result := Result{ID: check.ID, Description: check.Description, Status: Passed}
	found, err := check.Run(ctx)
	var (
		warned  warning
		skipped skip
	)
	switch {
	case err == nil:
		result.Message = found
		return result
	case explanation(err, causes) != "":
		result.Status, result.ExplainedBy = Skipped, explanation(err, causes)
	case errors.As(err, &warned):
		result.Status = Warned
	case errors.As(err, &skipped):
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

// Err returns a *FailedError if any check failed.
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
