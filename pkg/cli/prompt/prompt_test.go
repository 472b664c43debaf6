package prompt_test

import (
	"errors"
	"os"
	"testing"

	"github.com/osm-edge/osm/pkg/cli/prompt"
)

// Without a terminal every question returns at once, although the other end of the pipe stays open.
func TestNoTerminalNeverHangs(t *testing.T) {
	in, keepOpen, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer keepOpen.Close()
	for name, terminal := range map[string]prompt.Terminal{
		"pipe": {In: in, Out: keepOpen},
		"none": {},
	} {
		if terminal.Interactive() {
			t.Errorf("%s: is not a terminal", name)
		}
		if ok, err := terminal.Confirm("really?"); ok || !errors.Is(err, prompt.ErrNoTerminal) {
			t.Errorf("%s: Confirm = %v, %v; want false, ErrNoTerminal", name, ok, err)
		}
		if _, err := terminal.Input("how many?", "1", func(string) error { return nil }); !errors.Is(err, prompt.ErrNoTerminal) {
			t.Errorf("%s: Input: %v; want ErrNoTerminal", name, err)
		}
	}
}
