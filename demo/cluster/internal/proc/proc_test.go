package proc

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// statLine is a line of /proc/PID/stat with a name, a state, a start time and a number of threads (1).
func statLine(name, state string, start int, threads ...int) string {
	n := 1
	if len(threads) > 0 {
		n = threads[0]
	}
	return "42 (" + name + ") " + state + " 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 " + strconv.Itoa(n) + " 0 " + strconv.Itoa(start) + " 1000 200 18446744073709551615\n"
}

func fakeProc(t *testing.T, boot, stat string) Table {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{"sys/kernel/random/boot_id": boot + "\n", "42/stat": stat}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Table{Root: root}
}

func TestAliveNeedsPIDStartAndBoot(t *testing.T) {
	known := Identity{PID: 42, Start: 777, Boot: "b1"}
	tests := map[string]struct {
		boot, stat string
		id         Identity
		want       bool
	}{
		"the same process":               {"b1", statLine("kubelet", "S", 777), known, true},
		"name with spaces and parens":    {"b1", statLine("a) S (b", "R", 777), known, true},
		"pid was reused":                 {"b1", statLine("kubelet", "S", 778), known, false},
		"machine was rebooted":           {"b2", statLine("kubelet", "S", 777), known, false},
		"zombie":                         {"b1", statLine("kubelet", "Z", 777), known, false},
		"a thread in the middle of exec": {"b1", statLine("cluster", "Z", 777, 2), known, true},
		"no such pid":                    {"b1", statLine("kubelet", "S", 777), Identity{PID: 43, Start: 777, Boot: "b1"}, false},
		"zero identity":                  {"b1", statLine("kubelet", "S", 777), Identity{}, false},
		"truncated stat":                 {"b1", "42 (kubelet) S 1", known, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := fakeProc(t, tt.boot, tt.stat).Alive(tt.id); got != tt.want {
				t.Errorf("Alive = %t, want %t", got, tt.want)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine("kubelet", "S", 777)))
	f.Add([]byte("42 (x"))
	f.Add([]byte(")"))
	note := reach(f)
	f.Fuzz(func(t *testing.T, stat []byte) {
		now, err := parseStat(stat)
		note(err)
		if err == nil && now.state == "" {
			t.Errorf("%q gave neither a state nor an error", stat)
		}
	})
}

// reach is the product's tests/reach in short, which this module cannot import: the seeds must hold an
// input that is accepted and one that is refused.
func reach(f *testing.F) (note func(error)) {
	var accepted, refused atomic.Int64
	f.Cleanup(func() {
		if flag.Lookup("test.fuzz").Value.String() == "" && (accepted.Load() == 0 || refused.Load() == 0) {
			f.Errorf("of the seeds %d are accepted and %d refused, want some of both", accepted.Load(), refused.Load())
		}
	})
	return func(err error) {
		if err == nil {
			accepted.Add(1)
			return
		}
		refused.Add(1)
	}
}

func TestEnterArgs(t *testing.T) {
	got := EnterArgs(Unit{Argv: []string{"kubelet", "--a=b"}, Namespace: "/run/netns/n", Cgroups: []string{"/c/cpu", "/c/pids"}})
	want := []string{"enter", "/run/netns/n", "/c/cpu,/c/pids", "--", "kubelet", "--a=b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// newRegistry replaces this program with a script that skips namespace and cgroups, which need root, and runs the rest.
func newRegistry(t *testing.T) *Registry {
	t.Helper()
	self := filepath.Join(t.TempDir(), "self")
	script := "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n"
	if err := os.WriteFile(self, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := NewRegistry(t.TempDir(), self, Table{Root: "/proc"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStartIsIdempotentAndStopEnds(t *testing.T) {
	r := newRegistry(t)
	unit := Unit{Name: "sleeper", Argv: []string{"sleep", "600"}}
	if err := r.Start(unit); err != nil {
		t.Fatal(err)
	}
	first, running := r.Running("sleeper")
	if !running {
		t.Fatal("the daemon does not run")
	}
	if err := r.Start(unit); err != nil {
		t.Fatal(err)
	}
	if second, _ := r.Running("sleeper"); second != first {
		t.Errorf("second start started %v beside %v", second, first)
	}
	if err := r.Stop(context.Background(), 5*time.Second, "sleeper", "never-started"); err != nil {
		t.Fatal(err)
	}
	if (Table{Root: "/proc"}).Alive(first) {
		t.Error("the daemon is still running after Stop")
	}
	if _, err := os.Stat(r.recordFile("sleeper")); !os.IsNotExist(err) {
		t.Errorf("the record still exists after Stop: %v", err)
	}
}

func TestStopSparesAProcessThatReusesThePID(t *testing.T) {
	r := newRegistry(t)
	bystander, err := r.table.Inspect(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	bystander.Start-- // the record is of an earlier process with our pid
	content, err := json.Marshal(bystander)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.recordFile("old"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(context.Background(), 0, "old"); err != nil { // a signal would end this test process
		t.Fatal(err)
	}
}

func TestDiedShowsTheLog(t *testing.T) {
	r := newRegistry(t)
	if err := os.WriteFile(r.Log("etcd"), []byte(strings.Repeat("x", 5000)+"\naddress in use\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := r.Died("etcd")
	if err == nil || !strings.HasSuffix(err.Error(), "address in use") || len(err.Error()) > 2000 {
		t.Errorf("Died says %v", err)
	}
}
