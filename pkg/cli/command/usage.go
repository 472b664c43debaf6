package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

// UsageError is a mistake in a command line. The CLI adds where to find the help.
type UsageError struct {
	Command string // such as "osm mesh scale"
	Err     error
}

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// Usage returns err as a usage error of cmd.
func Usage(cmd *cobra.Command, err error) error {
	return &UsageError{cmd.CommandPath(), err}
}

// Usagef returns a usage error of cmd.
func Usagef(cmd *cobra.Command, format string, args ...any) error {
	return Usage(cmd, fmt.Errorf(format, args...))
}

// Group returns a command that does nothing itself but holds subcommands.
func Group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}
