package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
)

// Every command has a help text with an example, every flag has one default, and the texts change only on purpose.
func TestHelp(t *testing.T) {
	root := cli.NewRoot(command.NewEnv(command.Build{}))
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			visit(child)
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		t.Run(strings.Join(path, "_"), func(t *testing.T) {
			if !cmd.HasSubCommands() && cmd.Example == "" {
				t.Errorf("%s has no example", cmd.CommandPath())
			}
			stdout, stderr, code := run(t, append(path, "--help")...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			for _, line := range strings.Split(stdout, "\n") {
				if strings.Count(line, "(default") > 1 {
					t.Errorf("a flag has two defaults: %s", line)
				}
			}
			golden(t, filepath.Join("testdata", "help", strings.Join(append([]string{"osm"}, path...), "_")+".golden"), stdout)
		})
	}
	visit(root)
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./pkg/cli -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); run go test ./pkg/cli -update:\n%s", path, diff)
	}
}
