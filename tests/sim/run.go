package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"k8s.io/klog/v2"

	"github.com/osm-edge/osm/tests/sim/hostile"
	"github.com/osm-edge/osm/tests/sim/report"
	"github.com/osm-edge/osm/tests/sim/server"
)

// Run is the command line: the report goes to out, progress to errs.
func Run(ctx context.Context, args []string, out, errs io.Writer) error {
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.List {
		return list(out)
	}
	if o.Attack {
		return hostile.Run(ctx, os.Stdin, out)
	}
	// The client is not measured, so it saves the garbage collector's time at the cost of memory.
	debug.SetGCPercent(200)
	klog.SetOutput(errs)
	if o.Profile != "" {
		stop, err := profile(o.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	repo, err := server.Repo(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "osm-sim-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if o.Keep {
		fmt.Fprintf(errs, "logs are in %s\n", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	s := session{Options: o, repo: repo, dir: dir, errs: errs, began: time.Now()}
	s.log("looking for programs")
	if s.Programs, err = o.Programs.Find(ctx, repo, dir); err != nil {
		return err
	}
	if o.Small {
		return s.gate(ctx, out)
	}
	return s.all(ctx, out)
}

// profile samples this process until the returned function is called.
func profile(file string) (stop func(), err error) {
	to, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("profile the simulator: %w", err)
	}
	if err := pprof.StartCPUProfile(to); err != nil {
		to.Close()
		return nil, fmt.Errorf("profile the simulator: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		to.Close()
	}, nil
}

func list(out io.Writer) error {
	for _, s := range scenarios() {
		if _, err := fmt.Fprintf(out, "%-14s %s\n", s.name, s.about); err != nil {
			return fmt.Errorf("list scenarios: %w", err)
		}
	}
	return nil
}

// session is one run of the command.
type session struct {
	Options
	repo, dir string
	errs      io.Writer
	began     time.Time
}

// log writes progress, with the time since the beginning.
func (s *session) log(format string, args ...any) {
	fmt.Fprintf(s.errs, "%8s  %s\n", time.Since(s.began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}

// all runs the requested scenarios. A failed one does not keep the others from running.
func (s *session) all(ctx context.Context, out io.Writer) error {
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	r := &report.Report{Machine: report.Here(ctx, s.repo), Server: s.Programs.ControlPlane, Began: s.began}
	var failed []error
	for _, c := range chosen {
		s.log("%s: %s", c.name, c.about)
		if err := s.one(ctx, s.sized(c), r); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	write := r.Text
	if s.JSON {
		write = r.JSON
	}
	if err := write(out); err != nil {
		failed = append(failed, err)
	}
	if over := r.Over(); s.Strict && over > 0 {
		failed = append(failed, fmt.Errorf("%d figures are over their goal", over))
	}
	return errors.Join(failed...)
}

// one runs a scenario with its own processes.
func (s *session) one(ctx context.Context, c scenario, to *report.Report) error {
	if c.timeout == 0 {
		c.timeout = 15 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r := &rig{session: s, scenario: c, ctx: ctx, report: to}
	began, others, err := otherwiseBusy()
	if err != nil {
		return err
	}
	if err := r.play(); err != nil {
		return err
	}
	r.judge("contents under the version of another", float64(r.catalog.Conflicts()), "", 0)
	// Times mean little on a busy machine.
	ended, then, err := otherwiseBusy()
	if err != nil {
		return err
	}
	r.add("CPU taken by other programs meanwhile", (then-others).Seconds()/ended.Sub(began).Seconds(), "CPUs")
	return nil
}

// play runs the scenario and stops everything that it started.
func (r *rig) play() error {
	defer r.down()
	if err := r.up(); err != nil {
		return err
	}
	return r.scenario.run(r)
}

// otherwiseBusy is the CPU time of other programs so far. None of the run's own processes may be running.
func otherwiseBusy() (at time.Time, used time.Duration, err error) {
	used, err = server.Others()
	return time.Now(), used, err
}
