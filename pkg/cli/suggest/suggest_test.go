package suggest_test

import (
	"testing"

	"github.com/osm-edge/osm/pkg/cli/suggest"
)

func TestNearest(t *testing.T) {
	commands := []string{"install", "mesh", "namespace", "proxy", "uninstall", "upgrade", "verify", "version"}
	for word, want := range map[string]string{
		"instal":      "install",
		"INSTAL":      "install",
		"insatll":     "install",
		"mehs":        "mesh",
		"nmspace":     "namespace",
		"prox":        "proxy",
		"un":          "uninstall", // the beginning of one
		"u":           "",          // says nothing
		"support":     "",
		"policy":      "",
		"metrics":     "",
		"dashboard":   "",
		"xyz":         "",
		"":            "",
		"namespace2x": "namespace",
	} {
		if got := suggest.Nearest(word, commands); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := suggest.Nearest("word", nil); got != "" {
		t.Errorf("Nearest among none = %q", got)
	}
}
