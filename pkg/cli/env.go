package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/charts"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/prompt"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// Build says what a binary was built from.
type Build struct {
	Version   string `json:"version"`
	GitCommit string `json:"gitCommit"`
	BuildDate string `json:"buildDate"`
}

// Prompter asks a person, or answers prompt.ErrNoTerminal at once.
type Prompter interface {
	Interactive() bool
	Confirm(question string) (bool, error)
	Input(question, preset string, validate func(string) error) (string, error)
}

// Forwarder leads from a local address to a port of a pod until stop is called.
type Forwarder func(ctx context.Context, namespace, pod string, port int) (address string, stop func(), err error)

// Env is everything that a command needs from outside. The factories are called at most once per
// run, and only by commands that need what they make: a command that needs no cluster reads no
// kubeconfig.
type Env struct {
	Out     io.Writer // results
	Err     io.Writer // progress, warnings and errors
	Build   Build
	Now     func() time.Time
	Prompt  Prompter
	Chart   func(path string) (*release.Chart, error) // "" is the built-in chart
	Clients func() (*cluster.Clients, error)
	Engine  func(namespace string) (*release.Engine, error)
	Forward Forwarder
	Poll    time.Duration // how often a running rotation is looked at
	// Terminal says whether a person reads Out, so that no raw answer may be written there.
	Terminal func() bool

	// The global flags.
	Kube      *genericclioptions.ConfigFlags
	Namespace string
	Verbose   bool
}

// NewEnv is the environment of a real process.
func NewEnv(build Build) *Env {
	env := &Env{
		Out: os.Stdout, Err: os.Stderr, Build: build, Now: time.Now,
		Prompt:   prompt.Terminal{In: os.Stdin, Out: os.Stdout},
		Chart:    loadChart,
		Poll:     2 * time.Second,
		Terminal: func() bool { return term.IsTerminal(int(os.Stdout.Fd())) },
		Kube:     genericclioptions.NewConfigFlags(true),
	}
	env.Kube.WithWrapConfigFn(func(config *rest.Config) *rest.Config {
		config.WarningHandler = rest.NoWarnings{}
		config.QPS, config.Burst = 50, 100 // pre-flight asks a lot at once, then never again
		return config
	})
	env.Clients = func() (*cluster.Clients, error) { return cluster.NewClients(env.Kube) }
	env.Engine = func(namespace string) (*release.Engine, error) {
		return release.New(env.Kube, namespace, env.debugf)
	}
	env.Forward = func(ctx context.Context, namespace, pod string, port int) (string, func(), error) {
		clients, err := env.Clients()
		if err != nil {
			return "", nil, err
		}
		return cluster.Forward(ctx, clients.Config, namespace, pod, port)
	}
	return env
}

func loadChart(path string) (*release.Chart, error) {
	if path != "" {
		return release.LoadPath(path)
	}
	return release.Load(charts.Files())
}

// printf writes results for a person. Its arguments may come from the cluster: see output.Sprintf.
func (e *Env) printf(format string, args ...any) {
	fmt.Fprint(e.Out, output.Sprintf(format, args...))
}

// errorf writes progress and warnings, as printf does.
func (e *Env) errorf(format string, args ...any) {
	fmt.Fprint(e.Err, output.Sprintf(format, args...))
}

func (e *Env) debugf(format string, args ...any) {
	if e.Verbose {
		e.errorf("[debug] "+format+"\n", args...)
	}
}

// confirm asks before something is changed; without a terminal, and at a no, it is an error.
func (e *Env) confirm(question string) error {
	ok, err := e.Prompt.Confirm(output.Line(question))
	switch {
	case errors.Is(err, prompt.ErrNoTerminal):
		return fmt.Errorf("not confirmed: %w; use --yes", err)
	case err != nil:
		return err
	case !ok:
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
