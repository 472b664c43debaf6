package server

import "syscall"

// bound makes the kernel kill a child if the simulator ends without stopping it.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
