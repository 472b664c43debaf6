package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/osm-edge/osm/demo/cluster/internal/cgroup"
)

// EnterCommand is the hidden subcommand through which a daemon starts: it joins the cgroups and the network
// namespace and then becomes the daemon, keeping its pid and start time. `ip netns exec` would not do, as it
// remounts /sys and so hides the cgroups from the kubelet.
const EnterCommand = "enter"

// EnterArgs is the argument list, after the program's name, that makes this program become u.
func EnterArgs(u Unit) []string {
	args := []string{EnterCommand, u.Namespace, strings.Join(u.Cgroups, ","), "--"}
	return append(args, u.Argv...)
}

// Enter never returns nil: it either becomes the program argv or fails.
func Enter(namespace string, cgroups, argv []string) error {
	if len(argv) == 0 {
		return errors.New("enter namespace: no program given")
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	if err := cgroup.Join(cgroups); err != nil {
		return err
	}
	// Only this thread changes its namespace; it is also the one that survives exec.
	runtime.LockOSThread()
	handle, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", namespace, err)
	}
	if err := netns.Set(handle); err != nil {
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	if err := unix.Exec(program, argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}
