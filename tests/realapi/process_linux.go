package realapi

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Program returns the file that a variable of the environment names, or skips the test; where $CI is
// "true" the variable must be set. hint is the command that prints its value.
func Program(t testing.TB, variable, hint string) string {
	t.Helper()
	file := os.Getenv(variable)
	if file == "" && os.Getenv("CI") == "true" {
		t.Fatalf("CI needs %s: set it to what %s prints", variable, hint)
	}
	if file == "" {
		t.Skipf("SKIPPED: %s is not set: set it to what %s prints", variable, hint)
	}
	return file
}

// FreePort returns a loopback port that has just been free.
func FreePort(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// Process is a program that a test started and that ends with the test.
type Process struct {
	cmd  *exec.Cmd
	once sync.Once
}

// Run starts a program. If the test fails, the end of the program's log is shown.
func Run(t testing.TB, log, program string, args ...string) *Process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()                     // the child has its own
	cmd := exec.Command(program, args...) //nolint:noctx // ended by Stop, which waits for it
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves nothing
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	p := &Process{cmd: cmd}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("the end of %s:\n%s", filepath.Base(log), text[max(0, len(text)-3000):])
		}
	})
	return p
}

// Stop kills the process, as a crash would, and waits for its end.
func (p *Process) Stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // killed
	})
}
