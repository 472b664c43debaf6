//go:build !linux

package server

import "syscall"

// bound does nothing here: only Linux ends children on its own.
func bound() *syscall.SysProcAttr { return nil }
