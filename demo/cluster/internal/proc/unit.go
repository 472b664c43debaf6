package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	stopPoll = 50 * time.Millisecond
	logTail  = 1200 // bytes of a dead daemon's log worth showing
)

// Unit is one daemon.
type Unit struct {
	// Name is unique in the cluster and names the record and the log.
	Name string
	Argv []string
	// Namespace is the path of the network namespace to run in.
	Namespace string
	// Cgroups are the folders to join before the program starts.
	Cgroups []string
}

// Registry keeps the records and logs of a cluster's daemons in a folder.
type Registry struct {
	records string
	logs    string
	self    string
	table   Table
}

// NewRegistry uses dir/proc and dir/log. Self is this program, which re-executes itself to enter a namespace.
func NewRegistry(dir, self string, table Table) (*Registry, error) {
	r := &Registry{records: filepath.Join(dir, "proc"), logs: filepath.Join(dir, "log"), self: self, table: table}
	for _, d := range []string{r.records, r.logs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make folder for daemons: %w", err)
		}
	}
	return r, nil
}

// Log is the path of the daemon's log.
func (r *Registry) Log(name string) string { return filepath.Join(r.logs, name+".log") }

// Start runs u unless it runs already. The daemon gets a session of its own, so that Ctrl-C in the terminal
// of `up` does not reach it.
func (r *Registry) Start(u Unit) error {
	if _, running := r.Running(u.Name); running {
		return nil
	}
	log, err := os.OpenFile(r.Log(u.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(r.self, EnterArgs(u)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	if err := r.record(u.Name, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	go func() { _ = cmd.Wait() }() // reaps it, should it die while we still run; `up` reads its log
	return nil
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

func (r *Registry) record(name string, pid int) error {
	id, err := r.table.Inspect(pid)
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	content, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	file := r.recordFile(name)
	if err := os.WriteFile(file+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	return os.Rename(file+".tmp", file)
}

func (r *Registry) recordFile(name string) string { return filepath.Join(r.records, name+".json") }

// Running returns the daemon's identity, and whether it runs.
func (r *Registry) Running(name string) (Identity, bool) {
	var id Identity
	content, err := os.ReadFile(r.recordFile(name))
	if err != nil || json.Unmarshal(content, &id) != nil {
		return Identity{}, false
	}
	return id, r.table.Alive(id)
}

// Stop asks the daemons to end, kills those that outlive the grace period, and returns when all have ended.
func (r *Registry) Stop(ctx context.Context, grace time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for _, name := range names {
		if err := r.signal(name, syscall.SIGTERM); err != nil {
			return err
		}
	}
	for _, name := range names {
		if r.ended(ctx, name) {
			continue
		}
		if err := r.signal(name, syscall.SIGKILL); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := os.Remove(r.recordFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget %s: %w", name, err)
		}
	}
	return nil
}

func (r *Registry) signal(name string, sig syscall.Signal) error {
	id, running := r.Running(name)
	if !running {
		return nil
	}
	if err := syscall.Kill(id.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s (process %d): %w", name, id.PID, err)
	}
	return nil
}

func (r *Registry) ended(ctx context.Context, name string) bool {
	for {
		if _, running := r.Running(name); !running {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(stopPoll):
		}
	}
}

// Died explains the first of names that does not run, with the end of its log; nil if all run.
func (r *Registry) Died(names ...string) error {
	for _, name := range names {
		if _, running := r.Running(name); running {
			continue
		}
		return fmt.Errorf("%s has died; the end of %s:\n%s", name, r.Log(name), tail(r.Log(name)))
	}
	return nil
}

func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(content) > logTail {
		content = content[len(content)-logTail:]
	}
	return strings.TrimSpace(string(content))
}
