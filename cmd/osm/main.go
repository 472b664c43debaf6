// Command osm installs and manages a service mesh. It is pkg/cli with a process around it, and
// holds no logic of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
)

// Set by the linker.
var version, gitCommit, buildDate = "dev", "unknown", "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	code := cli.Main(ctx, command.NewEnv(command.Build{Version: version, GitCommit: gitCommit, BuildDate: buildDate}), os.Args[1:])
	stop()
	os.Exit(code)
}
