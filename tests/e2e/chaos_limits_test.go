//go:build e2e

package e2e

import (
	"fmt"
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

	"github.com/osm-edge/osm/pkg/api"
)

// slow lets a daemon run for a tenth of the time only, until heal, so that each request takes up to half a second longer.
func slow(daemon string) func(*chaosMesh, *testing.T) {
	return func(c *chaosMesh, t *testing.T) {
		const stopped, running = 450 * time.Millisecond, 50 * time.Millisecond
		pids := c.host.daemon(daemon)
		if len(pids) == 0 {
			t.Fatalf("%s does not run", daemon)
		}
		all := func(signal syscall.Signal) {
			for _, pid := range pids {
				_ = syscall.Kill(pid, signal) // one that has ended is noticed by those who use it
			}
		}
		end, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			defer all(syscall.SIGCONT)
			signals, pause := []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT}, []time.Duration{stopped, running}
			for i := 0; ; i = 1 - i {
				all(signals[i])
				timer := time.NewTimer(pause[i])
				select {
				case <-timer.C:
				case <-end:
					timer.Stop()
					return
				}
			}
		}()
		c.undone = func() { close(end); <-ended }
	}
}

// outOfMemory makes the kernel kill the controller of most proxies for its memory: its limit is lowered to what it uses, and
// another process takes the rest. The kernel kills what has the higher score, which is the container of a pod.
func outOfMemory(c *chaosMesh, t *testing.T) {
	pod := c.controllers(t)[0]
	killed := oomKills(pod)
	c.host.exhaust(t, pod, controlPlaneProgram)
	until(t, c.pods(pod.Namespace, "app="+api.AppController), podTime, func(pods []*corev1.Pod) string {
		for _, now := range pods {
			if now.UID == pod.UID && oomKills(now) > killed {
				return ""
			}
		}
		return "no container was killed for its memory: " + describe(pods)
	})
}

// oomKills is the number of restarts of a pod whose last one was because of its memory, or 0.
func oomKills(pod *corev1.Pod) int32 {
	for _, status := range pod.Status.ContainerStatuses {
		for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
			if state.Terminated != nil && state.Terminated.Reason == "OOMKilled" {
				return status.RestartCount + 1
			}
		}
	}
	return 0
}

// exhaust uses up the memory of the container that runs a program. Its cgroup ends with it.
func (h host) exhaust(t *testing.T, pod *corev1.Pod, name string) {
	t.Helper()
	pids := h.inPod(pod, name)
	if len(pids) != 1 {
		t.Fatalf("pod %s has %d processes %s, want 1", pod.Name, len(pids), name)
	}
	folder, limit, used := memoryOf(t, pids[0])
	const spare = 8 << 20
	now, err := strconv.ParseInt(strings.TrimSpace(string(must(os.ReadFile(filepath.Join(folder, used)))(t))), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, limit), []byte(strconv.FormatInt(now+spare, 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	// dd takes a block of memory and fills it.
	script := fmt.Sprintf("echo $$ >%s/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=%d count=1", folder, 4*spare)
	text, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	t.Logf("dd in the cgroup of %s, which ends with the container: %v %s", pod.Name, err, text)
}

// memoryOf returns a process's cgroup of memory, and the names of the files with the limit and what is used.
func memoryOf(t *testing.T, pid int) (folder, limit, used string) {
	t.Helper()
	text := must(os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)))(t)
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		if slices.Contains(strings.Split(fields[1], ","), "memory") {
			return filepath.Join("/sys/fs/cgroup/memory", fields[2]), "memory.limit_in_bytes", "memory.usage_in_bytes"
		}
		if fields[0] == "0" && fields[1] == "" { // version 2, unless a line of version 1 names memory
			folder, limit, used = filepath.Join("/sys/fs/cgroup", fields[2]), "memory.max", "memory.current"
		}
	}
	if folder == "" {
		t.Fatalf("process %d has no cgroup of memory: %s", pid, text)
	}
	return folder, limit, used
}

// fullDisk fills the disk that a node writes the logs of its containers to, and kills the controller there, which the kubelet
// cannot start again until heal. The disk is a small one that covers the folder: nodes share the machine's.
func fullDisk(c *chaosMesh, t *testing.T) {
	pod := c.controllers(t)[0]
	folder := filepath.Join(filepath.Dir(filepath.Dir(c.env.kubeconfig)), pod.Spec.NodeName, "podlogs")
	if _, err := os.Stat(folder); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		if text, err := exec.CommandContext(withoutTest(t), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "osm-e2e-full", folder) // room for the folder itself and a file
	c.undone = func() { run("umount", folder) }
	run("dd", "if=/dev/zero", "of="+filepath.Join(folder, "full"), "bs=4k", "count=1")
	c.host.signal(t, syscall.SIGKILL, c.host.inPod(pod, controlPlaneProgram))
	until(t, c.pods(pod.Namespace, "app="+api.AppController), podTime, func(pods []*corev1.Pod) string {
		for _, now := range pods {
			if now.UID == pod.UID && strings.Contains(describe([]*corev1.Pod{now}), "no space left on device") {
				return ""
			}
		}
		return "the kubelet has room for the controller: " + describe(pods)
	})
}
