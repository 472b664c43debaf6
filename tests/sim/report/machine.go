package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine describes where a run took place. Figures have no meaning without it.
type Machine struct {
	CPUs   int    `json:"cpus"`
	Model  string `json:"model"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Commit string `json:"commit"`
	// Load is the load average before the run, caused by other programs.
	Load string `json:"load"`
}

// String is the machine in one line.
func (m Machine) String() string {
	return fmt.Sprintf("%d CPUs (%s), %s, Linux %s, %s, commit %s, load before %s", m.CPUs, m.Model, m.Memory, m.Kernel, m.Go, m.Commit, m.Load)
}

// Here describes this machine and the checkout at repo. Unavailable facts are "unknown".
func Here(ctx context.Context, repo string) Machine {
	return Machine{
		CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Model:  field(read("/proc/cpuinfo"), "model name"),
		Memory: field(read("/proc/meminfo"), "MemTotal"),
		Kernel: orUnknown(strings.TrimSpace(read("/proc/sys/kernel/osrelease"))),
		Commit: commit(ctx, repo),
		Load:   load(read("/proc/loadavg")),
	}
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text)
}

// field is the value of the first line "key : value".
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func load(text string) string {
	first, _, _ := strings.Cut(text, " ")
	return orUnknown(first)
}

func commit(ctx context.Context, repo string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12")
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
