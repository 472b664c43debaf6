// Package host handles the machine that the cluster runs on: whether it can run one, which packages it lacks, what
// the daemons change outside the cluster's folders, and how to undo that. It starts no daemon. Invariant: Restore
// and Sweep remove or reset only what this cluster created or changed.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// wayOut ends every message that a local cluster is not possible.
const wayOut = "set KUBECONFIG (and IMAGE_REGISTRY) to a cluster of yours and run `make demo` against it"

// Machine holds the facts that decide whether a cluster can run; tests fill it by hand.
type Machine struct {
	OS   string
	Root bool
	// Namespaces reports whether network namespaces can be created, which containers often forbid.
	Namespaces bool
	// Missing are the packages whose programs are missing.
	Missing []string
	// Installer reports whether apt-get is available.
	Installer bool
}

// Inspect collects the facts about this machine.
func Inspect() Machine {
	m := Machine{OS: runtime.GOOS, Root: os.Geteuid() == 0, Missing: missing()}
	_, err := exec.LookPath("apt-get")
	m.Installer = err == nil
	m.Namespaces = m.Root && canUnshare()
	return m
}

func canUnshare() bool {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread cannot be reused and ends with this goroutine
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	return <-result == nil
}

// Check returns nil if a cluster can run here, assuming that packages are installed if install is set, or one
// sentence that says what prevents it and what to do instead.
func (m Machine) Check(install bool) error {
	var reason string
	switch {
	case m.OS != "linux":
		reason = fmt.Sprintf("it needs Linux and this is %s", m.OS)
	case !m.Root:
		reason = "it needs root (try sudo)"
	case !m.Namespaces:
		reason = "making a network namespace is not permitted here (is this a container without CAP_SYS_ADMIN?)"
	case len(m.Missing) > 0 && !m.Installer:
		reason = fmt.Sprintf("%s must be installed and there is no apt-get", strings.Join(m.Missing, ", "))
	case len(m.Missing) > 0 && !install:
		reason = fmt.Sprintf("%s must be installed and --no-install forbids it", strings.Join(m.Missing, ", "))
	default:
		return nil
	}
	return fmt.Errorf("a local cluster cannot run on this machine: %s; %s", reason, wayOut)
}

// missing lists the Debian packages of programs that are not in the PATH.
func missing() []string {
	needs := []struct{ program, pack string }{
		{"containerd", "containerd"}, {"ctr", "containerd"}, {"containerd-shim-runc-v2", "containerd"}, {"runc", "runc"},
		{"iptables", "iptables"}, {"iptables-restore", "iptables"}, {"conntrack", "conntrack"}, {"etcd", "etcd-server"},
	}
	var packs []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil && !slices.Contains(packs, n.pack) {
			packs = append(packs, n.pack)
		}
	}
	if _, err := PluginDir(); err != nil {
		packs = append(packs, "containernetworking-plugins")
	}
	return packs
}

// PluginDir is the folder of the CNI plugins: Debian's, or that of the plugins' own releases.
func PluginDir() (string, error) {
	dirs := []string{"/usr/lib/cni", "/opt/cni/bin"}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("find CNI plugins: no ptp in %s", strings.Join(dirs, " or "))
}

// ExtendPath adds the system folders that an unprivileged shell's PATH lacks and sudo keeps lacking.
func ExtendPath() error {
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(filepath.SplitList(path), dir) {
			path += string(os.PathListSeparator) + dir
		}
	}
	return os.Setenv("PATH", path)
}

// Install installs packs with apt-get. A stale package list is refreshed once.
func Install(ctx context.Context, packs []string, log io.Writer) error {
	args := append([]string{"install", "-y", "--no-install-recommends"}, packs...)
	err := apt(ctx, log, args...)
	if err == nil {
		return nil
	}
	if refresh := apt(ctx, log, "update"); refresh != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packs, ", "), errors.Join(err, refresh))
	}
	if err := apt(ctx, log, args...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packs, ", "), err)
	}
	return nil
}

func apt(ctx context.Context, log io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}

// Removable reports whether this program may remove a cluster's leftovers.
func (m Machine) Removable() error {
	if m.OS != "linux" || !m.Root {
		return errors.New("removing a cluster needs Linux and root (try sudo)")
	}
	return nil
}
