package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Before is the machine's state before the cluster, as far as the cluster's daemons change it.
type Before struct {
	// Tunables are kernel settings that the kubelet sets for the whole machine, by path below /proc/sys.
	Tunables map[string]string `json:"tunables"`
	// Absent are folders outside the state folder that did not exist.
	Absent []string `json:"absent"`
}

// tunables are written by every kubelet when it starts.
func tunables() []string {
	return []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"}
}

// outside are the folders whose paths are fixed in containerd, the CNI library or the kubelet; parents come first.
func outside() []string {
	return []string{
		"/run/netns", "/run/containerd", "/run/containerd/s", "/var/lib/cni", "/var/lib/cni/results",
		"/var/lib/kubelet", "/var/lib/kubelet/device-plugins", "/var/log/containers",
	}
}

// Record records the machine's current state.
func Record() (Before, error) {
	b := Before{Tunables: map[string]string{}}
	for _, key := range tunables() {
		value, err := os.ReadFile("/proc/sys/" + key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return b, fmt.Errorf("record kernel setting: %w", err)
		}
		b.Tunables[key] = strings.TrimSpace(string(value))
	}
	for _, dir := range outside() {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			b.Absent = append(b.Absent, dir)
		}
	}
	return b, nil
}

// Restore resets what differs from b, and removes the folders that did not exist in b if they are empty now.
func (b Before) Restore() error {
	var failed []error
	for key, want := range b.Tunables {
		now, err := os.ReadFile("/proc/sys/" + key)
		if err == nil && strings.TrimSpace(string(now)) != want {
			failed = append(failed, os.WriteFile("/proc/sys/"+key, []byte(want), 0o644))
		}
	}
	for _, dir := range slices.Backward(b.Absent) {
		err := syscall.Rmdir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			failed = append(failed, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(failed...)
}

// Unmount detaches everything mounted below dir, the last mounted first.
func Unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, point := range slices.Backward(mountsBelow(mounts, dir)) {
		// A mount inside another one may have been unmounted with it.
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow picks the mount points below dir from the text of mountinfo, in the order of mounting.
func mountsBelow(mountinfo []byte, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for lines := bufio.NewScanner(bytes.NewReader(mountinfo)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points
}

// SweepShims removes the sockets of the containerd shims that have run under the containerd state folder state. Their
// path is a hash, so the bundles must still be there to compute it.
func SweepShims(state string) error {
	addresses, err := filepath.Glob(filepath.Join(state, "io.containerd.runtime.v2.task", "*", "*", "address"))
	if err != nil {
		return fmt.Errorf("list shims below %s: %w", state, err)
	}
	var failed []error
	for _, file := range addresses {
		address, err := os.ReadFile(file)
		if err == nil {
			failed = append(failed, remove(strings.TrimPrefix(strings.TrimSpace(string(address)), "unix://")))
		}
	}
	return errors.Join(failed...)
}

// Sweep removes files outside the state folder that point into it, and the kubelet's socket if nothing listens on it.
func Sweep(state string) error {
	failed := []error{
		sweep("/var/log/containers", func(file string) bool {
			target, err := os.Readlink(file)
			return err == nil && strings.HasPrefix(target, state+"/")
		}),
		sweep("/var/lib/cni/results", func(file string) bool {
			content, err := os.ReadFile(file)
			return err == nil && bytes.Contains(content, []byte(state+"/"))
		}),
		sweep("/var/lib/kubelet/device-plugins", func(file string) bool {
			conn, err := net.DialTimeout("unix", file, time.Second)
			if err == nil {
				err = errors.Join(errors.New("somebody listens"), conn.Close())
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		}),
	}
	return errors.Join(failed...)
}

func sweep(dir string, ours func(file string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	var failed []error
	for _, entry := range entries {
		if file := filepath.Join(dir, entry.Name()); ours(file) {
			failed = append(failed, remove(file))
		}
	}
	return errors.Join(failed...)
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}
