package output_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/osm-edge/osm/pkg/cli/output"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	old, other := filepath.Join(dir, "old"), filepath.Join(dir, "other")
	for _, path := range []string{old, other} {
		if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(old, 0o666); err != nil {
		t.Fatal(err)
	}
	// A process that has the readable file open reads nothing of what is written.
	reader, err := os.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, path := range []string{filepath.Join(dir, "new"), old} {
		if err := output.WriteFile(path, []byte("secret")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", path, info.Mode(), err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "secret" {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	seen := make([]byte, 10)
	if n, _ := reader.Read(seen); string(seen[:n]) != "before" {
		t.Errorf("the old file was written to: %q", seen[:n])
	}
	for name, target := range map[string]string{"link": other, "dangling": filepath.Join(dir, "absent"), "to-dir": dir} {
		link := filepath.Join(dir, name)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := output.WriteFile(link, []byte("secret")); err == nil || !strings.Contains(err.Error(), link) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if data, err := os.ReadFile(other); err != nil || string(data) != "before" {
		t.Errorf("the link's target was written to: %q, %v", data, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "absent")); !os.IsNotExist(err) {
		t.Error("the link's target was made")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".osm-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Special files are written to, not replaced.
func TestWriteFileToAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(pipe)
		if err != nil {
			data = []byte(err.Error())
		}
		read <- string(data)
	}()
	if err := output.WriteFile(pipe, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "answer" {
		t.Errorf("read %q", got)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe is gone: %v, %v", info, err)
	}
}
