package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is the kernel's accounting of a process.
type Usage struct {
	// CPU is user and system time since its start.
	CPU time.Duration
	// RSS is its current memory, PeakRSS the maximum so far, in bytes.
	RSS, PeakRSS int64
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// UsageOf reads the usage of a process.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	if u.CPU, _, err = parseStat(string(stat)); err != nil {
		return u, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	if u.RSS, u.PeakRSS, err = parseStatus(string(status)); err != nil {
		return u, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return u, nil
}

// parseStat reads the times of a process itself (utime and stime, the 14th and 15th field) and of its
// children that have ended (the next two). The second field is the program's name in parentheses,
// which may hold spaces and parentheses of its own.
func parseStat(text string) (own, children time.Duration, err error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return 0, 0, errors.New("no program name in stat")
	}
	fields := strings.Fields(text[end+1:]) // from the third field on
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("stat has %d fields after the name, want 15 or more", len(fields))
	}
	if own, err = sumTicks(fields[11:13]); err != nil {
		return 0, 0, err
	}
	children, err = sumTicks(fields[13:15])
	return own, children, err
}

func sumTicks(fields []string) (time.Duration, error) {
	var sum int64
	for _, field := range fields {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("time in stat: %w", err)
		}
		sum += ticks
	}
	return time.Duration(sum) * tick, nil
}

// Others is the CPU time that the machine has spent on anything except this process and its children
// that have ended, since it booted. An increase between two readings was not available to the run.
func Others() (time.Duration, error) {
	machine, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	busy, err := parseMachine(string(machine))
	if err != nil {
		return 0, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, fmt.Errorf("read the simulator's CPU time: %w", err)
	}
	own, children, err := parseStat(string(self))
	if err != nil {
		return 0, fmt.Errorf("read the simulator's CPU time: %w", err)
	}
	return busy - own - children, nil
}

// parseMachine sums all times except idle ones; stolen time of a hypervisor counts.
func parseMachine(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("no times of all CPUs in %q", line)
	}
	// user nice system idle iowait irq softirq steal
	return sumTicks(append(append([]string{}, fields[1:4]...), fields[6:9]...))
}

func parseStatus(text string) (rss, peak int64, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "VmRSS":
			rss, err = parseKiB(value)
		case "VmHWM":
			peak, err = parseKiB(value)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", key, err)
		}
	}
	if rss == 0 || peak == 0 {
		return 0, 0, errors.New("no VmRSS and VmHWM: the process has ended")
	}
	return rss, peak, nil
}

func parseKiB(value string) (int64, error) {
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
	return kib << 10, err
}
