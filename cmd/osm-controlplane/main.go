// Command osm-controlplane is the one binary of the control-plane image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/osm-edge/osm/pkg/controlplane/command"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// Set by the linker.
var version, gitCommit, buildDate = "dev", "", ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := command.New(serve.Version{Version: version, GitCommit: gitCommit, BuildDate: buildDate})
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1) //nolint:gocritic // nothing is left for the deferred stop to do
	}
}
