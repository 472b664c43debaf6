package check_test

import (
	"context"
	"errors"
	"testing"

	"github.com/osm-edge/osm/pkg/cli/check"
)

// A failure is hidden only if every check that it names has failed or is explained, and its cause is one that is shown.
func TestConsequence(t *testing.T) {
	fail := errors.New("failed")
	var none []string
	tests := []struct {
		name      string
		a, b      error
		of        []string
		status    check.Status
		explained string
	}{
		{"its cause failed", fail, nil, []string{"a"}, check.Skipped, "a"},
		{"its cause passed", nil, fail, []string{"a"}, check.Failed, ""},
		{"its cause is only a warning", check.Warning(fail), nil, []string{"a"}, check.Failed, ""},
		{"both causes failed", fail, fail, []string{"a", "b"}, check.Skipped, "a"},
		{"one of two causes failed", fail, nil, []string{"a", "b"}, check.Failed, ""},
		{"its cause is explained itself", fail, check.Consequence(fail, "a"), []string{"b"}, check.Skipped, "a"},
		{"no cause", fail, fail, none, check.Failed, ""},
		{"an unknown cause", fail, fail, []string{"x"}, check.Failed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			of := func(id string, err error) check.Check {
				return check.Check{ID: id, Run: func(context.Context) (string, error) { return "", err }}
			}
			results := check.Run(t.Context(), []check.Check{of("a", tt.a), of("b", tt.b), of("c", check.Consequence(fail, tt.of...))}, nil)
			if c := results[2]; c.Status != tt.status || c.ExplainedBy != tt.explained || c.Message != "failed" {
				t.Errorf("got %+v, want %s, explained by %q", c, tt.status, tt.explained)
			}
		})
	}
}
