// Package cluster creates, changes and removes a whole cluster, using the packages that each handle one
// part. It prints only progress. Invariant: every operation may be interrupted at any point and restarted, because
// each step first checks what exists, and the state file is written before anything that it describes.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/osm-edge/osm/demo/cluster/internal/cgroup"
	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/proc"
	"github.com/osm-edge/osm/demo/cluster/internal/progress"
	"github.com/osm-edge/osm/demo/cluster/internal/render"
)

const stateFile = "cluster.json"

// ErrAbsent means that no cluster of this name exists.
var ErrAbsent = errors.New("there is no such cluster")

// State is what a command must know about earlier commands.
type State struct {
	Plan     plan.Cluster      `json:"plan"`
	Programs map[string]string `json:"programs"`
	// Images are the archives every node imports before its first pod.
	Images []string    `json:"images"`
	CNIBin string      `json:"cniBin"`
	Before host.Before `json:"before"`
}

// Cluster is one cluster on this machine, held exclusively until Close.
type Cluster struct {
	State
	dir      string
	layout   render.Layout
	cgroups  cgroup.Host
	daemons  *proc.Registry
	progress *progress.Printer
	lock     *os.File
}

// Site is the folder of clusters and the name of one of them.
type Site struct {
	// Dir holds a folder for each cluster.
	Dir  string
	Name string
}

// ClusterDir is the state folder of the cluster.
func (s Site) ClusterDir() string { return filepath.Join(s.Dir, s.Name) }

// Kubeconfig is the path of the user's kubeconfig.
func (s Site) Kubeconfig() string {
	return render.Layout{Dir: s.ClusterDir()}.Kubeconfig(render.AdminUser)
}

// Load reads the state of the cluster, or ErrAbsent.
func (s Site) Load() (State, error) {
	var state State
	content, err := os.ReadFile(filepath.Join(s.ClusterDir(), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return state, fmt.Errorf("read cluster %s in %s: %w; make it with `cluster up`", s.Name, s.Dir, ErrAbsent)
	}
	if err != nil {
		return state, fmt.Errorf("read cluster %s: %w", s.Name, err)
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("read cluster %s: %w; remove what is left of it with `cluster down`", s.Name, err)
	}
	return state, nil
}

// Before is the machine's state before this cluster: its current state, or, if other clusters run, its state before
// them.
func (s Site) Before() (host.Before, error) {
	others, err := s.others()
	if err != nil {
		return host.Before{}, err
	}
	if len(others) > 0 {
		return others[0].Before, nil
	}
	return host.Record()
}

// others are the clusters of the same state folder that can be read.
func (s Site) others() ([]State, error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "*", stateFile))
	if err != nil {
		return nil, fmt.Errorf("list clusters in %s: %w", s.Dir, err)
	}
	var states []State
	for _, file := range files {
		other := Site{Dir: s.Dir, Name: filepath.Base(filepath.Dir(file))}
		if state, err := other.Load(); err == nil && other.Name != s.Name {
			states = append(states, state)
		}
	}
	return states, nil
}

func (s Site) save(state State) error {
	content, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("save cluster %s: %w", s.Name, err)
	}
	file := filepath.Join(s.ClusterDir(), stateFile)
	if err := os.WriteFile(file+".tmp", content, 0o600); err != nil {
		return fmt.Errorf("save cluster %s: %w", s.Name, err)
	}
	return os.Rename(file+".tmp", file)
}

// plainPath accepts only paths that need no quoting in the daemons' configuration files.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]+$`)

// Open acquires the cluster's lock, so that no two commands change it at once.
func Open(site Site, state State, out *progress.Printer) (*Cluster, error) {
	// Containerd's longest socket below this folder must fit the kernel's 108 bytes.
	if dir := site.ClusterDir(); len(dir) > 70 || !plainPath.MatchString(dir) {
		return nil, fmt.Errorf("state folder %q must be an absolute path of at most 70 plain characters (letters, digits, /._+-); pass another --state", dir)
	}
	if err := os.MkdirAll(site.ClusterDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	dir, err := filepath.EvalSymlinks(site.ClusterDir()) // mounts are listed by their real paths
	if err != nil {
		return nil, fmt.Errorf("resolve state folder: %w", err)
	}
	c := &Cluster{State: state, dir: dir, progress: out}
	c.layout = render.Layout{Plan: state.Plan, Dir: dir, Programs: state.Programs, CNIBin: state.CNIBin}
	if c.lock, err = lock(site.lockFile()); err != nil {
		return nil, err
	}
	if c.cgroups, err = cgroup.Detect("/proc/mounts"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if c.daemons, err = proc.NewRegistry(dir, self, proc.Table{Root: "/proc"}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (s Site) lockFile() string { return filepath.Join(s.Dir, "."+s.Name+".lock") }

func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another command is changing this cluster; wait for it to end")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}

// Close releases the lock. The daemons keep running.
func (c *Cluster) Close() error { return c.lock.Close() }

func (c *Cluster) unit(m plan.Machine, namespace string, d render.Daemon) proc.Unit {
	return proc.Unit{Name: d.Name, Argv: d.Argv, Namespace: namespace, Cgroups: c.cgroups.Dirs(c.Plan.DaemonCgroup(m))}
}
