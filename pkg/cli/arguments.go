package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// joinDryRun lets --dry-run take its value as the next argument, as kubectl's and Helm's users write it. pflag does not,
// because the flag may stand alone; the value would be an argument, and none of the commands with this flag has any.
func joinDryRun(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if args[i] == "--dry-run" && i+1 < len(args) && slices.Contains([]string{"client", "server", "none"}, args[i+1]) {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// argumentError explains an argument of a command that takes none: to cobra, it is an unknown command.
func argumentError(cmd *cobra.Command, args []string, err error) error {
	if cmd.HasSubCommands() || len(args) == 0 || !strings.HasPrefix(err.Error(), "unknown command") {
		return err
	}
	hint := ""
	switch dryRun := cmd.Flags().Lookup("dry-run"); {
	case dryRun != nil && dryRun.Changed:
		hint = "; --dry-run takes client, server or none"
	case cmd.Flags().Lookup("mesh-name") != nil:
		hint = "; to name the mesh, use --mesh-name " + args[0]
	}
	return fmt.Errorf("%q is one argument too many: %s takes none%s", args[0], cmd.CommandPath(), hint)
}
