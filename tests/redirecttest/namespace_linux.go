// Package redirecttest gives tests a network namespace of their own, in which they can apply real
// redirection rules and open real connections.
//
// It is for tests only. Its invariant: nothing outlives the test, since the namespace is held by
// one thread and by the sockets that the test opened, and by no name in the file system.
package redirecttest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace whose loopback interface is up.
type Namespace struct {
	work chan func()
	fd   int
}

// New makes a namespace. It skips the test, saying why, unless the test runs as root on Linux.
func New(t testing.TB) *Namespace {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to make a network namespace; run this test as root to check real redirection")
	}
	n := &Namespace{work: make(chan func())}
	ready := make(chan error)
	go n.serve(ready)
	if err := <-ready; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(n.work)
		_ = unix.Close(n.fd)
	})
	n.IP(t, "link set lo up")
	return n
}

// serve owns the namespace's thread. It never unlocks it: the runtime then ends the thread, and
// with it the namespace, instead of reusing it for other goroutines.
func (n *Namespace) serve(ready chan<- error) {
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	ready <- err
	for f := range n.work {
		f()
	}
}

// Do runs f on the namespace's thread: sockets that f opens and processes that it starts are inside.
func (n *Namespace) Do(f func()) {
	done := make(chan struct{})
	n.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// IP runs the ip command with space-separated arguments inside the namespace.
func (n *Namespace) IP(t testing.TB, args string) {
	t.Helper()
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput() })
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// Listen opens a TCP listener inside the namespace, closed when the test ends.
func (n *Namespace) Listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatalf("listen on %s: %v", address, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Dial connects to an address from inside the namespace, with the socket owned by user uid.
func (n *Namespace) Dial(dialer net.Dialer, address string, uid int) (net.Conn, error) {
	var conn net.Conn
	var err error
	n.Do(func() {
		// The owner of a socket is the file system user of the thread that makes it.
		before, e := unix.SetfsuidRetUid(uid)
		if e != nil {
			err = fmt.Errorf("become user %d: %w", uid, e)
			return
		}
		defer func() { _, _ = unix.SetfsuidRetUid(before) }()
		conn, err = dialer.Dial("tcp", address)
	})
	return conn, err
}

// Connect joins two namespaces by a pair of interfaces named eth0 with these addresses (CIDR form).
func Connect(t testing.TB, a, b *Namespace, addressA, addressB string) {
	t.Helper()
	a.IP(t, fmt.Sprintf("link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", os.Getpid(), b.fd))
	for n, address := range map[*Namespace]string{a: addressA, b: addressB} {
		n.IP(t, "address add "+address+" dev eth0 nodad")
		n.IP(t, "link set eth0 up")
	}
}

// Sysctl writes a value under /proc/sys, whose net part is the namespace's own.
func (n *Namespace) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	var err error
	n.Do(func() { err = os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatalf("set sysctl %s to %s: %v", name, value, err)
	}
}
