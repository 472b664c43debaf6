package sim

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/osm-edge/osm/tests/sim/server"
	"github.com/osm-edge/osm/tests/sim/world"
)

// Options are the parameters of a run.
type Options struct {
	Programs server.Programs
	// Names of the scenarios.
	Names []string
	// Small runs the gate instead, and Update rewrites its golden file.
	Small, Update bool
	// Golden is that file; empty means the one in the checkout.
	Golden string
	// JSON prints the report for programs.
	JSON bool
	// List prints the scenarios and runs none.
	List bool
	// Attack makes this process the attackers of the scenario hostile: it reads a plan and writes the
	// outcome. The scenario starts it.
	Attack bool
	// Strict makes a figure over its goal an error.
	Strict bool
	// Keep leaves the folder with the logs of all processes.
	Keep bool
	Seed uint64

	// These override a scenario's own size; zero means no change.
	Services, Pods, Proxies, Replicas int
	Events                            int
	// Duration of the timed scenarios; Settle is the time before steady memory is read.
	Duration, Settle time.Duration
	// Changes and Reconnects of the soak.
	Changes, Reconnects int
	// Protocol of the fake Envoys.
	StateOfTheWorld bool
	Timeout         time.Duration
	// Profile is the file for a CPU profile of the simulator itself.
	Profile string
}

func parse(args []string, errs io.Writer) (Options, error) {
	var o Options
	var run, output string
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&run, "run", "", "comma-separated scenarios, or \"all\"")
	flags.BoolVar(&o.List, "list", false, "list the scenarios")
	flags.BoolVar(&o.Attack, "attack", false, "be the attackers of the scenario hostile, which starts this itself")
	flags.BoolVar(&o.Small, "small", false, "run the gate: compare counts and bytes with the golden file")
	flags.BoolVar(&o.Update, "update", false, "with -small: rewrite the golden file")
	flags.StringVar(&o.Golden, "golden", "", "with -small: the golden file (default: tests/sim/testdata/gate.golden)")
	flags.StringVar(&output, "o", "table", "form of the report: table or json")
	flags.BoolVar(&o.Strict, "strict", false, "fail when a figure is over its goal")
	flags.BoolVar(&o.Keep, "keep", false, "keep the folder with the processes' logs and say where it is")
	flags.StringVar(&o.Programs.ControlPlane, "controlplane", "", "osm-controlplane to judge (default: compiled from this checkout)")
	flags.StringVar(&o.Programs.APIServer, "apiserver", "", "kube-apiserver (default: the local cluster's)")
	flags.StringVar(&o.Programs.Etcd, "etcd", "", "etcd (default: the one in PATH)")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of all random choices")
	flags.IntVar(&o.Services, "services", 0, "number of services (default: the scenario's)")
	flags.IntVar(&o.Pods, "pods", 0, "pods of each service (default: the scenario's)")
	flags.IntVar(&o.Proxies, "proxies", 0, "number of fake Envoys (default: the scenario's)")
	flags.IntVar(&o.Replicas, "replicas", 0, "number of osm-controllers (default: the scenario's)")
	flags.IntVar(&o.Events, "events", 0, "number of measured events (default: the scenario's)")
	flags.DurationVar(&o.Duration, "duration", 0, "how long scenarios with a steady load last (default: the scenario's)")
	flags.DurationVar(&o.Settle, "settle", 15*time.Second, "quiet time before steady memory is read")
	flags.IntVar(&o.Changes, "changes", 1_000_000, "object changes of the soak")
	flags.IntVar(&o.Reconnects, "reconnects", 100_000, "reconnects of the soak")
	flags.BoolVar(&o.StateOfTheWorld, "sotw", false, "let the fake Envoys ask for the state of the world instead of incrementally")
	flags.DurationVar(&o.Timeout, "timeout", 0, "bound of each scenario (default: the scenario's)")
	flags.StringVar(&o.Profile, "cpuprofile", "", "write a CPU profile of the simulator itself to this file")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if output != "table" && output != "json" {
		return o, fmt.Errorf("-o %q: want table or json", output)
	}
	o.JSON = output == "json"
	if run != "" {
		o.Names = strings.Split(run, ",")
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if !o.List && !o.Attack && o.Small == (len(o.Names) > 0) {
		return errors.New("want either -run NAMES, -small or -list")
	}
	if o.Update && !o.Small {
		return errors.New("-update rewrites the golden file of -small")
	}
	for flag, n := range map[string]int{"services": o.Services, "pods": o.Pods, "proxies": o.Proxies, "replicas": o.Replicas, "events": o.Events} {
		if n < 0 {
			return fmt.Errorf("-%s %d: must not be negative", flag, n)
		}
	}
	if o.Changes < 1000 || o.Reconnects < 1 {
		return errors.New("-changes must be 1000 or more, and -reconnects 1 or more")
	}
	_, err := o.choose()
	return err
}

// choose returns the requested scenarios.
func (o Options) choose() ([]scenario, error) {
	known := scenarios()
	if len(o.Names) == 1 && o.Names[0] == "all" {
		return known, nil
	}
	var chosen []scenario
	for _, name := range o.Names {
		found := false
		for _, s := range known {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario %q: see -list", name)
		}
	}
	return chosen, nil
}

// sized returns the scenario with the requested size.
func (o Options) sized(s scenario) scenario {
	override(&s.shape.Services, o.Services)
	override(&s.shape.Pods, o.Pods)
	override(&s.proxies, o.Proxies)
	override(&s.replicas, o.Replicas)
	override(&s.events, o.Events)
	override(&s.lasts, o.Duration)
	override(&s.timeout, o.Timeout)
	return s
}

func override[T comparable](value *T, with T) {
	var zero T
	if with != zero {
		*value = with
	}
}

// scenario is a question to the control plane.
type scenario struct {
	name, about string
	shape       world.Shape
	proxies     int
	replicas    int
	events      int           // measured changes
	lasts       time.Duration // of a steady load
	timeout     time.Duration
	strict      bool // without permissive mode
	run         func(*rig) error
}

func scenarios() []scenario {
	usual := world.Shape{Services: 100, Pods: 10}
	return []scenario{
		{name: "onboard-1000", about: "1000 proxies connect at once and get their first configuration", shape: usual, proxies: 1000, run: onboard},
		{name: "unready-1000", about: "one endpoint becomes unready while 1000 proxies are connected", shape: usual, proxies: 1000, events: 10, run: unready},
		{name: "lone-500", about: "single endpoint changes reach 500 proxies", shape: usual, proxies: 500, events: 40, run: lone},
		{name: "churn-1000", about: "the same to 1000 proxies while 50 other endpoints change per second", shape: usual, proxies: 1000, events: 40, run: churn},
		{name: "storm-2000", about: "2000 proxies lose their control plane at once and reconnect", shape: world.Shape{Services: 100, Pods: 20}, proxies: 2000, run: storm},
		{name: "wide-1000", about: "1000 proxies connect to a mesh of 1000 services", shape: world.Shape{Services: 1000, Pods: 1}, proxies: 1000, run: wide},
		{name: "groups", about: "one endpoint becomes unready and ready in meshes of 1, 10 and 1000 groups of identities with equal rights", shape: world.Shape{Services: 1000, Pods: 1}, proxies: 1000, events: 10, strict: true, run: groups},
		{name: "fleet-10000", about: "10,000 connected proxies, 10 changes per second", shape: world.Shape{Services: 100, Pods: 100}, proxies: 10000, lasts: 30 * time.Second, timeout: 30 * time.Minute, run: large},
		{name: "unseen", about: "changes that no proxy can see, or that it is not subscribed to", shape: usual, proxies: 200, events: 5, run: unseen},
		{name: "failover-1000", about: "1000 proxies move to another replica when theirs is killed", shape: usual, proxies: 1000, replicas: 2, run: failover},
		{name: "podchurn-1000", about: "pods are replaced at 10 per second, with their proxies", shape: usual, proxies: 1000, lasts: 30 * time.Second, run: podChurn},
		{name: "hostile", about: "1000 honest proxies, with a hostile pod of the mesh and one outside it", shape: world.Shape{Services: 100, Pods: 11}, proxies: 1000, events: 15, run: hostilePods},
		{name: "soak", about: "many changes and reconnects; memory and goroutines at the end as at the beginning", shape: world.Shape{Services: 50, Pods: 4}, proxies: 100, timeout: 4 * time.Hour, run: soak},
	}
}
