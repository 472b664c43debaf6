// Package proc starts the cluster's daemons inside their namespace and cgroup, records their identity, and stops them.
// It does not supervise: a daemon that dies is only restarted by the next `up`.
// Invariant: a signal is sent only to a process whose pid, start time and boot all match the record.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Identity distinguishes one process from every other with the same pid, past or future.
type Identity struct {
	PID int `json:"pid"`
	// Start is the process's start in clock ticks since boot (field 22 of /proc/PID/stat).
	Start uint64 `json:"start"`
	// Boot is the kernel's boot id, since ticks start from zero at each boot.
	Boot string `json:"boot"`
}

// Table reads identities from a proc file system.
type Table struct {
	// Root is /proc on a real machine.
	Root string
}

// Boot is the id of the running boot.
func (t Table) Boot() (string, error) {
	id, err := os.ReadFile(filepath.Join(t.Root, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// Inspect identifies the current process with pid. A zombie counts as ended.
func (t Table) Inspect(pid int) (Identity, error) {
	boot, err := t.Boot()
	if err != nil {
		return Identity{}, err
	}
	stat, err := os.ReadFile(filepath.Join(t.Root, strconv.Itoa(pid), "stat"))
	if err != nil {
		return Identity{}, fmt.Errorf("inspect process %d: %w", pid, err)
	}
	now, err := parseStat(stat)
	if err != nil {
		return Identity{}, fmt.Errorf("inspect process %d: %w", pid, err)
	}
	if now.ended() {
		return Identity{}, fmt.Errorf("inspect process %d: it has ended", pid)
	}
	return Identity{PID: pid, Start: now.start, Boot: boot}, nil
}

// Alive reports whether the process that id describes still runs.
func (t Table) Alive(id Identity) bool {
	now, err := t.Inspect(id.PID)
	return err == nil && id.PID > 0 && now == id
}

// processState is the parsed /proc/PID/stat.
type processState struct {
	state   string
	threads uint64
	start   uint64
}

// ended reports whether no thread of the process is running. A zombie with another thread is still running:
// that thread is about to become the process, which is what happens when a thread other than the first
// calls exec, as Enter's does.
func (s processState) ended() bool { return s.state == "X" || s.state == "Z" && s.threads <= 1 }

// parseStat looks behind the last parenthesis, as a command's name may itself hold spaces and parentheses.
func parseStat(stat []byte) (s processState, err error) {
	const stateField, threadsField, startField = 0, 17, 19 // counted behind the name; fields 3, 20 and 22 of proc(5)
	_, rest, found := cutLast(stat, ')')
	fields := bytes.Fields(rest)
	if !found || len(fields) <= startField {
		return s, fmt.Errorf("malformed stat %q", stat)
	}
	s.state = string(fields[stateField])
	if s.threads, err = strconv.ParseUint(string(fields[threadsField]), 10, 64); err != nil {
		return s, err
	}
	s.start, err = strconv.ParseUint(string(fields[startField]), 10, 64)
	return s, err
}

func cutLast(s []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(s, sep)
	if i < 0 {
		return s, nil, false
	}
	return s[:i], s[i+1:], true
}
