//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// host is the machine that runs the local cluster: all processes of the nodes are its own. It acts only on processes
// in the cluster's cgroup, which the cluster's program alone starts processes in.
type host struct {
	program []string // that controls the cluster
	cluster string   // its name
}

const comm = 15 // the kernel cuts the name of a process

func localHost(t *testing.T, env environment) host {
	t.Helper()
	i := slices.Index(env.nodeControl, "--name")
	if i < 0 || i+1 >= len(env.nodeControl) {
		t.Fatalf("%s must name the cluster with --name, got %q", varNodeControl, env.nodeControl)
	}
	return host{program: env.nodeControl, cluster: env.nodeControl[i+1]}
}

// up starts again what is missing of the cluster.
func (h host) up(ctx context.Context) error {
	text, err := exec.CommandContext(ctx, h.program[0], append(slices.Clone(h.program[1:]), "up")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cluster up: %w\n%s", err, text)
	}
	return nil
}

// processes returns those whose cgroup contains all parts, and whose name is comm ("" is any).
func (h host) processes(name string, parts ...string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup") // the pattern is valid
	var found []int
	for _, file := range files {
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), "/"+h.cluster+"/") {
			continue
		}
		if slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(string(group), part) }) {
			continue
		}
		called, err := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if err != nil || name != "" && strings.TrimSpace(string(called)) != name[:min(comm, len(name))] {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// inPod returns the processes of a pod with this name.
func (h host) inPod(pod *corev1.Pod, name string) []int {
	return h.processes(name, "pod"+string(pod.UID))
}

// daemon returns the processes of a daemon of the cluster's control plane.
func (h host) daemon(name string) []int { return h.processes(name, "/"+h.cluster+"/master/daemons") }

// signal sends a signal to all of them, of which there must be one at least.
func (h host) signal(t *testing.T, signal syscall.Signal, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatalf("no process to send signal %s to", signal)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("send signal %s to process %d: %v", signal, pid, err)
		}
	}
}

const hostTime = 20 * time.Second

// inside runs a program in the network of a pod.
func (h host) inside(ctx context.Context, pod *corev1.Pod, args ...string) error {
	pids := h.inPod(pod, "")
	if len(pids) == 0 {
		return fmt.Errorf("pod %s has no process", pod.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	text, err := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/" + strconv.Itoa(pids[0]) + "/ns/net"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("in the network of pod %s: %s: %w\n%s", pod.Name, strings.Join(args, " "), err, text)
	}
	return nil
}

// drops makes a pod's network drop packets, by rules of iptables, or no longer.
func (h host) drops(t *testing.T, on bool, pod *corev1.Pod, rules ...string) {
	t.Helper()
	action := map[bool]string{true: "-I", false: "-D"}[on]
	for _, rule := range rules {
		chain, match, _ := strings.Cut(rule, " ")
		args := append([]string{"iptables", "-w", action, chain}, append(strings.Fields(match), "-j", "DROP")...)
		if err := h.inside(withoutTest(t), pod, args...); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// throttle limits the CPU time of a pod's containers to a part of one CPU in percent, and returns what undoes it. The pod's
// own limit must not be below its containers', and stays.
func (h host) throttle(t *testing.T, pod *corev1.Pod, percent int) func() {
	t.Helper()
	const period = 100000 // microseconds, the kernel's default
	legacy, _ := filepath.Glob("/sys/fs/cgroup/cpu/" + h.cluster + "/*/kubepods/*/pod" + string(pod.UID) + "/*/cpu.cfs_quota_us")
	unified, _ := filepath.Glob("/sys/fs/cgroup/" + h.cluster + "/*/kubepods/*/pod" + string(pod.UID) + "/*/cpu.max")
	files := slices.Concat(legacy, unified)
	if len(files) == 0 {
		t.Fatalf("pod %s has no cgroup with a limit of CPU time", pod.Name)
	}
	before := map[string][]byte{}
	for _, file := range files {
		before[file] = must(os.ReadFile(file))(t)
		if err := os.WriteFile(file, []byte(strconv.Itoa(period*percent/100)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for file, value := range before {
			if err := os.WriteFile(file, value, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
}

// loadAverage is how busy the machine was in the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	average, _, _ := strings.Cut(string(text), " ")
	return average
}

// peers returns the addresses of the established connections to a port of a pod.
func (h host) peers(t *testing.T, pod *corev1.Pod, port int) []string {
	t.Helper()
	pids := h.inPod(pod, "")
	if len(pids) == 0 {
		t.Fatalf("pod %s has no process", pod.Name)
	}
	const established = "01"
	var peers []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pids[0], table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == established && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				peers = append(peers, ipv4(fields[2]))
			}
		}
	}
	return peers
}

// ipv4 reads an address and port as the kernel's tables have it: the last four bytes are the address, little endian.
func ipv4(text string) string {
	text, _, _ = strings.Cut(text, ":")
	bytes, err := hex.DecodeString(text[max(len(text)-2*net.IPv4len, 0):])
	if err != nil || len(bytes) != net.IPv4len {
		return text
	}
	slices.Reverse(bytes)
	return net.IP(bytes).String()
}
