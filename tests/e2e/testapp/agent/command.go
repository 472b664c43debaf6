package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/osm-edge/osm/tests/sim/hostile"
)

// Main is the command line: `serve [--drain D] [--control ADDRESS]`; `call PROTOCOL ADDRESS`, which makes one call,
// prints the answer and fails if the call did; `webhook FOLDER IMAGE`, a mutating webhook that adds a container to pods;
// `companion`, which is that container; `attack FILE`, a proxy that attacks a controller by a plan of package hostile.
func Main(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command: use serve, call, webhook, companion or attack")
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1:], stdout)
	case "call":
		return call(ctx, args[1:], stdout)
	case "webhook":
		return webhook(ctx, args[1:])
	case Companion:
		return companion(ctx)
	case "attack":
		return attack(ctx, args[1:], stdout)
	}
	return fmt.Errorf("command %q: use serve, call, webhook, companion or attack", args[0])
}

func serve(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	drain := flags.Duration("drain", 5*time.Second, "how long to serve on, unready, after being asked to stop")
	control := flags.String("control", "", "address of the control port, if not loopback only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this server: %w", err)
	}
	return Run(ctx, Config{Server: host, Drain: *drain, Control: *control, Listen: new(net.ListenConfig).Listen, Log: slog.New(slog.NewTextHandler(stdout, nil))})
}

func call(ctx context.Context, args []string, stdout io.Writer) error {
	const operands = 2
	if len(args) != operands {
		return fmt.Errorf("call takes a protocol and an address, got %q", args)
	}
	answer := newCaller().do(ctx, Call{Protocol: Protocol(args[0]), Address: args[1]})
	if !answer.OK() {
		return errors.New(answer.Error)
	}
	return json.NewEncoder(stdout).Encode(answer.Seen)
}

// attack carries out the plan in a file, until ctx or its time ends.
func attack(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("attack takes a file, got %q", args)
	}
	plan, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	open, end := io.Pipe() // the plan's end is not that of the attack
	defer end.Close()
	return hostile.Run(ctx, io.MultiReader(bytes.NewReader(plan), open), stdout)
}
