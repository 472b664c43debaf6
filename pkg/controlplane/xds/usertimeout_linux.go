package xds

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes the kernel close a connection whose peer acknowledges nothing for that long. gRPC
// does it for plain TCP connections only, and those of a gate are wrapped.
func setUserTimeout(conn any, after time.Duration) {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return // closed already
	}
	_ = control.Control(func(fd uintptr) {
		// Where the kernel has no such option, the HTTP/2 pings detect it later.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
