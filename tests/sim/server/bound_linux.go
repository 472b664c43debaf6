package server

import "syscall"

// bound makes the kernel end a child when the simulator ends without having done so.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
