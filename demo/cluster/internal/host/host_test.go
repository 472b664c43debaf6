package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckExplainsInOneSentence(t *testing.T) {
	good := Machine{OS: "linux", Root: true, Namespaces: true, Installer: true}
	with := func(change func(*Machine)) Machine {
		m := good
		change(&m)
		return m
	}
	lacking := func(m *Machine) { m.Missing = []string{"runc", "conntrack"} }
	tests := map[string]struct {
		machine Machine
		install bool
		want    string
	}{
		"good":                       {good, false, ""},
		"lacks packages, installs":   {with(lacking), true, ""},
		"lacks packages, may not":    {with(lacking), false, "runc, conntrack must be installed and --no-install"},
		"lacks packages, no apt-get": {with(func(m *Machine) { lacking(m); m.Installer = false }), true, "there is no apt-get"},
		"not Linux":                  {with(func(m *Machine) { m.OS = "darwin" }), true, "needs Linux and this is darwin"},
		"not root":                   {with(func(m *Machine) { m.Root, m.Namespaces = false, false }), true, "needs root"},
		"in a container":             {with(func(m *Machine) { m.Namespaces = false }), true, "namespace is not permitted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.machine.Check(tt.install)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range []string{tt.want, "set KUBECONFIG (and IMAGE_REGISTRY)", "`make demo`"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one sentence", err)
			}
		})
	}
}

func TestMountsBelowPicksOursInOrder(t *testing.T) {
	const mountinfo = `21 1 8:1 / / rw - ext4 /dev/sda rw
40 21 0:40 / /state/osmc/node-1/shm rw - tmpfs shm rw
41 21 0:41 / /state/osmc/node-1/root\040fs rw - overlay overlay rw
42 21 0:42 / /state/osmc2/node-1/shm rw - tmpfs shm rw
43 21 0:4 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw
44 41 0:43 / /state/osmc/node-1/root\040fs/inner rw - tmpfs tmpfs rw
short line
`
	want := []string{"/state/osmc/node-1/shm", "/state/osmc/node-1/root fs", "/state/osmc/node-1/root fs/inner"}
	if diff := cmp.Diff(want, mountsBelow([]byte(mountinfo), "/state/osmc")); diff != "" {
		t.Error(diff)
	}
}

func TestSweepShimsRemovesTheSocketsOfTheirBundles(t *testing.T) {
	state, sockets := t.TempDir(), t.TempDir()
	ours, foreign := filepath.Join(sockets, "ours"), filepath.Join(sockets, "foreign")
	bundle := filepath.Join(state, "io.containerd.runtime.v2.task", "k8s.io", "abc")
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{ours: "", foreign: "", filepath.Join(bundle, "address"): "unix://" + ours} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a repeated sweep finds no socket
		if err := SweepShims(state); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(ours); !os.IsNotExist(err) {
		t.Errorf("our socket still exists: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("another program's socket was removed: %v", err)
	}
}

func TestSweepKeepsForeignFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a-ours", "b-foreign"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(dir, func(file string) bool { return strings.HasSuffix(file, "-ours") }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "b-foreign" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := sweep(filepath.Join(dir, "absent"), func(string) bool { return true }); err != nil {
		t.Errorf("an absent folder is an error: %v", err)
	}
}

func TestRestoreRemovesOnlyEmptyFoldersThatWereAbsent(t *testing.T) {
	root := t.TempDir()
	dir := func(parts ...string) string {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parent, child, used, before := dir("made"), dir("made", "child"), dir("used"), dir("before")
	dir("used", "by-another")
	if err := (Before{Absent: []string{parent, child, used, filepath.Join(root, "gone")}}).Restore(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{before, used}, left); diff != "" {
		t.Error(diff)
	}
}
