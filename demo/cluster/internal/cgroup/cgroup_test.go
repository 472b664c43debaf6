package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDetect(t *testing.T) {
	tests := map[string]struct {
		mounts string
		want   []string
		fails  bool
	}{
		"version 1": {
			mounts: "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n",
			want:   []string{"/sys/fs/cgroup/cpu/osmc", "/sys/fs/cgroup/systemd/osmc"},
		},
		"hybrid": {
			mounts: "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
			want:   []string{"/sys/fs/cgroup/pids/osmc", "/sys/fs/cgroup/unified/osmc"},
		},
		"version 2":     {mounts: "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", want: []string{"/sys/fs/cgroup/osmc"}},
		"mounted twice": {mounts: "cgroup /c/cpu cgroup rw 0 0\ncgroup /c/cpu cgroup rw 0 0\n", want: []string{"/c/cpu/osmc"}},
		"none":          {mounts: "proc /proc proc rw 0 0\n", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "mounts")
			write(t, file, tt.mounts)
			h, err := Detect(file)
			if tt.fails {
				if err == nil || !strings.Contains(err.Error(), "mount cgroup2") {
					t.Fatalf("got error %v, want one that says what to mount", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, h.Dirs("osmc")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCreateCopiesTheCpusetDownInVersion1(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "cpuset", "cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(root, "cpuset", "cpuset.mems"), "0\n")
	if err := os.Mkdir(filepath.Join(root, "pids"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := Host{legacy: []string{filepath.Join(root, "cpuset"), filepath.Join(root, "pids")}}
	for range 2 { // the second time everything exists
		if err := h.Create("osmc/node-1/daemons"); err != nil {
			t.Fatal(err)
		}
	}
	for _, group := range []string{"osmc", "osmc/node-1", "osmc/node-1/daemons"} {
		got, err := os.ReadFile(filepath.Join(root, "cpuset", group, "cpuset.cpus"))
		if err != nil || string(got) != "0-1\n" {
			t.Errorf("%s has cpus %q, %v", group, got, err)
		}
		if _, err := os.Stat(filepath.Join(root, "pids", group)); err != nil {
			t.Error(err)
		}
	}
}

func TestProcessesAreFoundInAnyHierarchyAndDepth(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "cpu/osmc/node-1/daemons/cgroup.procs"), "30\n10\n")
	write(t, filepath.Join(root, "pids/osmc/node-1/daemons/cgroup.procs"), "10\n0\n")
	write(t, filepath.Join(root, "pids/osmc/node-1/kubepods/pod1/cgroup.procs"), "20\n")
	write(t, filepath.Join(root, "pids/osmc/node-2/daemons/cgroup.procs"), "99\n")
	h := Host{legacy: []string{filepath.Join(root, "cpu"), filepath.Join(root, "pids")}, unified: filepath.Join(root, "absent")}
	got, err := h.Processes("osmc/node-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{10, 20, 30}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveTakesTheDeepestFirstAndForgivesAbsence(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "cpu/osmc/node-1/kubepods"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := Host{legacy: []string{filepath.Join(root, "cpu"), filepath.Join(root, "absent")}}
	for range 2 {
		if err := h.Remove("osmc"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "cpu/osmc")); !os.IsNotExist(err) {
		t.Errorf("the group still exists: %v", err)
	}
}
