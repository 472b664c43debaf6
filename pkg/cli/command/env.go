package command

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

// Build identifies the source that a binary was built from.
type Build struct {
	Version   string `json:"version"`
	GitCommit string `json:"gitCommit"`
	BuildDate string `json:"buildDate"`
}

// Prompter asks a person. Without a terminal it returns prompt.ErrNoTerminal at once.
type Prompter interface {
	Interactive() bool
	Confirm(question string) (bool, error)
	Input(question, preset string, validate func(string) error) (string, error)
}

// Forwarder forwards a local address to a port of a pod until stop is called.
type Forwarder func(ctx context.Context, namespace, pod string, port int) (address string, stop func(), err error)

// Env is everything that a command takes from outside. The factories are called only by commands
// that need their result: a command that needs no cluster reads no kubeconfig.
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
	Poll    time.Duration // how often the progress of a rotation is read
	// Terminal reports whether Out is a terminal: raw answers of a pod must not be written to one.
	Terminal func() bool

	// The global flags.
	Kube      *genericclioptions.ConfigFlags
	Namespace string
	Verbose   bool
}

// NewEnv returns the environment of a real process.
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
		config.QPS, config.Burst = 50, 100 // the pre-flight checks send many requests at once
		return config
	})
	env.Clients = func() (*cluster.Clients, error) { return cluster.NewClients(env.Kube) }
	env.Engine = func(namespace string) (*release.Engine, error) {
		return release.New(env.Kube, namespace, env.Debugf)
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

// Printf writes a result. Its arguments may come from the cluster: see output.Sprintf.
func (e *Env) Printf(format string, args ...any) {
	fmt.Fprint(e.Out, output.Sprintf(format, args...))
}

// Progressf writes progress to standard error. Its arguments may come from the cluster, too.
func (e *Env) Progressf(format string, args ...any) {
	fmt.Fprint(e.Err, output.Sprintf(format, args...))
}

// Warnf writes one warning, a line of its own.
func (e *Env) Warnf(format string, args ...any) {
	e.Progressf("Warning: "+format+"\n", args...)
}

// Debugf writes one line if --verbose is set.
func (e *Env) Debugf(format string, args ...any) {
	if e.Verbose {
		e.Progressf("[debug] "+format+"\n", args...)
	}
}

// Confirm asks before something is changed. Without a terminal, or if the answer is no, it returns an error.
func (e *Env) Confirm(question string) error {
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

// Connect returns clients for a cluster that answers. An unreachable cluster is reported in one
// sentence here, whatever the command would have asked first.
func (e *Env) Connect(ctx context.Context) (*cluster.Clients, error) {
	clients, err := e.Clients()
	if err != nil {
		return nil, err
	}
	if _, err := clients.ServerVersion(ctx); err != nil {
		return nil, err
	}
	return clients, nil
}
