package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/suggest"
)

// unknownCommand refuses a command line that leads to no command. It looks before cobra parses flags: those of a
// mistyped command are unknown as well, and are not the mistake.
func unknownCommand(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	group, rest, err := root.Find(args)
	if err != nil {
		return command.Usage(root, err)
	}
	words := words(group, rest)
	if !group.HasSubCommands() || len(words) == 0 || strings.HasPrefix(words[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	path := slices.Concat(strings.Fields(group.CommandPath())[1:], words)
	if name, instead := replacement(path); instead != "" {
		return command.Usagef(group, "osm has no command %q, unlike Open Service Mesh; %s", name, instead)
	}
	hint := ""
	if near := nearestCommands(group, words[0]); len(near) > 0 {
		hint = fmt.Sprintf(`; did you mean "%s"?`, strings.Join(near, `" or "`))
	}
	return command.Usagef(group, "unknown command %q for %q%s", words[0], group.CommandPath(), hint)
}

// words are the arguments that are neither flags nor their values.
func words(cmd *cobra.Command, args []string) []string {
	var found []string
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return append(found, args[i+1:]...)
		case !strings.HasPrefix(arg, "-"):
			found = append(found, arg)
		case takesNext(cmd, arg):
			i++
		}
	}
	return found
}

// takesNext reports whether a flag's value is the next argument.
func takesNext(cmd *cobra.Command, arg string) bool {
	flag := cmd.Flag(strings.TrimLeft(arg, "-"))
	return flag != nil && flag.NoOptDefVal == ""
}

// nearestCommands are the commands that a word in a group may mean: of the group, or of that name elsewhere.
func nearestCommands(group *cobra.Command, word string) []string {
	inGroup := named(group.Commands())
	if near := suggest.Nearest(word, names(inGroup)); near != "" {
		return inGroup[near]
	}
	// A command of another group is meant only if it is spelled right, or nearly so.
	everywhere := named(leaves(group.Root()))
	near, distance := suggest.Closest(word, names(everywhere))
	if distance > len(word)/4 {
		return nil
	}
	return everywhere[near]
}

// named are the complete command lines of commands, by name and alias.
func named(commands []*cobra.Command) map[string][]string {
	paths := map[string][]string{}
	for _, cmd := range commands {
		if cmd.IsAvailableCommand() {
			for _, name := range append([]string{cmd.Name()}, cmd.Aliases...) {
				paths[name] = append(paths[name], cmd.CommandPath())
			}
		}
	}
	return paths
}

func names(paths map[string][]string) []string {
	var names []string
	for name := range paths {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// leaves are the commands that do something, in the order of the help.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var found []*cobra.Command
	for _, child := range cmd.Commands() {
		found = append(found, leaves(child)...)
	}
	return found
}

// flagError turns an error of pflag into a usage error, with the flag that may be meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return command.Usage(cmd, err)
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		name = "-" + name
	}
	if instead := replacedFlags()[cmd.CommandPath()+" "+name]; instead != "" {
		return command.Usagef(cmd, "%w, unlike in Open Service Mesh; %s", err, instead)
	}
	var flags []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			flags = append(flags, flag.Name)
		}
	})
	if near := suggest.Nearest(name, flags); near != "" {
		return command.Usagef(cmd, "%w; did you mean --%s?", err, near)
	}
	return command.Usage(cmd, err)
}
