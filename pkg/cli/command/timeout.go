package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// DefaultTimeout is how long an operation may take unless --timeout says otherwise.
const DefaultTimeout = 5 * time.Minute

// CleanupTimeout is how long diagnosis, rollback and cleanup may take. They run after the time limit
// or after Ctrl-C, when the command's own context has ended.
const CleanupTimeout = 2 * time.Minute

// Timeout is the flag --timeout; 0 means no limit.
type Timeout time.Duration

// AddFlag adds --timeout to a command.
func (t *Timeout) AddFlag(cmd *cobra.Command, preset time.Duration, usage string) {
	cmd.Flags().DurationVar((*time.Duration)(t), "timeout", preset, usage+"; 0 means no limit")
}

// Validate refuses a negative timeout.
func (t Timeout) Validate(cmd *cobra.Command) error {
	if t < 0 {
		return Usagef(cmd, "--timeout: %s is negative; use a duration such as 5m, or 0 for no limit", time.Duration(t))
	}
	return nil
}

// Limit applies the timeout to a context.
func (t Timeout) Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if t == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(t), fmt.Errorf("timed out after %s (--timeout)", time.Duration(t)))
}

// Cleanup returns a context for work that must be done although ctx may have ended.
func Cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
}
