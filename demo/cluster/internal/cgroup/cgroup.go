// Package cgroup makes, empties and removes cgroups in every hierarchy the host has mounted, version 1 or 2.
// It sets no limits. Invariant: it never touches a cgroup outside the path it is given.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	procsFile   = "cgroup.procs"
	killTimeout = 15 * time.Second
	killPoll    = 20 * time.Millisecond
)

// Host is the set of hierarchies of a machine.
type Host struct {
	legacy  []string // mount points of version 1 hierarchies
	unified string   // mount point of the version 2 hierarchy, or empty
}

// Detect reads the mounts listed in the file mounts (/proc/mounts on a real machine).
func Detect(mounts string) (Host, error) {
	f, err := os.Open(mounts)
	if err != nil {
		return Host{}, fmt.Errorf("find cgroup hierarchies: %w", err)
	}
	defer f.Close()
	var h Host
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 3:
		case fields[2] == "cgroup" && !slices.Contains(h.legacy, fields[1]):
			h.legacy = append(h.legacy, fields[1])
		case fields[2] == "cgroup2" && h.unified == "":
			h.unified = fields[1]
		}
	}
	if len(h.legacy) == 0 && h.unified == "" {
		return Host{}, errors.New("find cgroup hierarchies: none is mounted; mount cgroup2 at /sys/fs/cgroup")
	}
	return h, nil
}

// Dirs returns the folder of path in each hierarchy.
func (h Host) Dirs(path string) []string {
	var dirs []string
	for _, mount := range h.legacy {
		dirs = append(dirs, filepath.Join(mount, path))
	}
	if h.unified != "" {
		dirs = append(dirs, filepath.Join(h.unified, path))
	}
	return dirs
}

// Create makes path and its parents in every hierarchy, ready to hold processes or further groups.
func (h Host) Create(path string) error {
	for _, mount := range h.legacy {
		if err := createLegacy(mount, path); err != nil {
			return fmt.Errorf("create cgroup %s in %s: %w", path, mount, err)
		}
	}
	if h.unified == "" {
		return nil
	}
	if err := h.createUnified(path); err != nil {
		return fmt.Errorf("create cgroup %s in %s: %w", path, h.unified, err)
	}
	return nil
}

// createLegacy copies the cpuset downwards: version 1 refuses processes in a group whose cpuset is empty.
func createLegacy(mount, path string) error {
	dir := mount
	for part := range strings.SplitSeq(path, "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(parent, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// createUnified enables each controller of the parent in its children; the leaf itself keeps its processes.
func (h Host) createUnified(path string) error {
	dir := h.unified
	for part := range strings.SplitSeq(path, "/") {
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for name := range strings.FieldsSeq(string(controllers)) {
			// A controller may be unavailable (because of realtime threads, or of version 1); the kubelet reports
			// that if it needs it.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Join moves the calling process into each of dirs, as Dirs returned them.
func Join(dirs []string) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, procsFile), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// Processes lists the process ids in path and below it, in any hierarchy, in ascending order.
func (h Host) Processes(path string) ([]int, error) {
	var pids []int
	for _, dir := range h.Dirs(path) {
		err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // groups vanish while they are listed
			}
			if err != nil || entry.Name() != procsFile {
				return err
			}
			found, err := readPIDs(file)
			pids = append(pids, found...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %s: %w", dir, err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func readPIDs(file string) ([]int, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(string(content)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if pid > 0 { // 0 stands for a process of another pid namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill kills every process in path and below it with SIGKILL and returns when none is left. All processes in a cgroup of
// the cluster were started by the cluster, so no other process can be hit.
func (h Host) Kill(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	for {
		pids, err := h.Processes(path)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d of cgroup %s: %w", pid, path, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("empty cgroup %s: processes %v outlived SIGKILL: %w", path, pids, ctx.Err())
		case <-time.After(killPoll):
		}
	}
}

// Remove deletes path and every group below it. The groups must be empty.
func (h Host) Remove(path string) error {
	var failed []error
	for _, dir := range h.Dirs(path) {
		var groups []string
		err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, file)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		failed = append(failed, err)
		for _, group := range slices.Backward(groups) {
			failed = append(failed, rmdir(group))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return nil
}

// rmdir retries: the kernel releases a group shortly after its last process has ended.
func rmdir(dir string) error {
	var err error
	for range 100 {
		err = syscall.Rmdir(dir)
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(killPoll)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rmdir %s: %w", dir, err)
	}
	return nil
}
