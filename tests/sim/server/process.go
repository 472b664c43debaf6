package server

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a running child.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// Start runs argv in the background. What it prints goes to NAME.log in dir.
func Start(name, dir string, argv ...string) (*Process, error) {
	p := &Process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the output of %s: %w", name, err)
	}
	defer out.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // it outlives every context but Kill
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = bound()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the caller that waits for it reports how it ended
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process at once and waits for its end.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Kill() // fails only if it has already ended
	<-p.done
}

// Stop asks the process to end, and kills it if it takes longer than grace.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}

// await polls until ready returns nil, the process ends or ctx does.
func (p *Process) await(ctx context.Context, what string, ready func(context.Context) error) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("wait for %s: %s ended:\n%s", what, p.name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w:\n%s", what, ctx.Err(), last, p.Tail())
		case <-poll.C:
		}
	}
}

// LogSize is how much the process has printed, in bytes.
func (p *Process) LogSize() (int64, error) {
	info, err := os.Stat(p.log)
	if err != nil {
		return 0, fmt.Errorf("measure the output of %s: %w", p.name, err)
	}
	return info.Size(), nil
}

// Tail is the end of what the process printed.
func (p *Process) Tail() string {
	const keep = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(text) > keep {
		text = text[len(text)-keep:]
	}
	return string(bytes.TrimSpace(text))
}
