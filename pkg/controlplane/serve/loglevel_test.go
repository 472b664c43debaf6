package serve_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

func TestLogLevel(t *testing.T) {
	level, err := serve.NewLogLevel("warn")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		override string
		want     slog.Level
	}{{"debug", slog.LevelDebug}, {"", slog.LevelWarn}, {"error", slog.LevelError}, {"loud", slog.LevelWarn}} {
		if level.Override(step.override); level.Level() != step.want {
			t.Errorf("after %q the level is %s, want %s", step.override, level.Level(), step.want)
		}
	}
	if _, err := serve.NewLogLevel("loud"); err == nil || !strings.Contains(err.Error(), "debug, info, warn or error") {
		t.Errorf("an unknown level gives %v", err)
	}
	(*serve.LogLevel)(nil).Override("debug")
}
