package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what the kernel says of a process.
type Usage struct {
	// CPU is user and system time since its start.
	CPU time.Duration
	// RSS is the memory that it holds now, PeakRSS the most that it has held, in bytes.
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
	if u.CPU, err = parseStat(string(stat)); err != nil {
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

// parseStat sums utime and stime, the 14th and 15th field. The second field is the program's name in
// parentheses, which may hold spaces and parentheses of its own.
func parseStat(text string) (time.Duration, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return 0, errors.New("no program name in stat")
	}
	fields := strings.Fields(text[end+1:]) // from the third field on
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat has %d fields after the name, want 13 or more", len(fields))
	}
	var sum int64
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("time in stat: %w", err)
		}
		sum += ticks
	}
	return time.Duration(sum) * tick, nil
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
