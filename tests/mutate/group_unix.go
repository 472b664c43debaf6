//go:build unix

package mutate

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the end of a command's context end all its processes: the go command does not end the tests that
// it runs.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
