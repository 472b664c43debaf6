// Command notices prints the licenses of everything that is compiled into the given packages.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/osm-edge/osm/tools/internal/notices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("notices", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "folder of the module")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parts, err := notices.Collect(ctx, *root, flags.Args())
	if err != nil {
		return err
	}
	goLicence, err := notices.Standard(runtime.Version(), *root)
	if err != nil {
		return err
	}
	return notices.Write(stdout, append(parts, goLicence))
}
