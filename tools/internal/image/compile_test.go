package image_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/osm-edge/osm/tools/internal/image"
)

// program copies the sample Go program to its own folder. It is in testdata under names
// that keep the go command from treating it as part of this module.
func program(t *testing.T) image.Program {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"go.mod", "main.go"} {
		content, err := os.ReadFile(filepath.Join("testdata", "program", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return image.Program{Root: root, Package: ".", Arch: runtime.GOARCH, Variables: map[string]string{"main.version": "v1"}}
}

func compiled(t *testing.T, p image.Program) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "program")
	if err := image.Compile(t.Context(), p, output); err != nil {
		t.Fatal(err)
	}
	return output
}

func TestCompileIsReproducible(t *testing.T) {
	first, err := os.ReadFile(compiled(t, program(t)))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(compiled(t, program(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two folders with the same sources gave different binaries")
	}
}

// TestCompileIgnoresTheEnvironment: settings for other work do not affect an image.
func TestCompileIgnoresTheEnvironment(t *testing.T) {
	plain, err := os.ReadFile(compiled(t, program(t)))
	if err != nil {
		t.Fatal(err)
	}
	workspace := filepath.Join(t.TempDir(), "go.work")
	if err := os.WriteFile(workspace, []byte("go 1.26\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOWORK", workspace)
	t.Setenv("GOFLAGS", "-tags=other")
	other, err := os.ReadFile(compiled(t, program(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plain, other) {
		t.Error("a workspace and flags in the environment gave a different binary")
	}
}

func TestCompileSetsVariables(t *testing.T) {
	binary := compiled(t, program(t))
	out, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "v1" {
		t.Errorf("program printed %q (%v), want v1", out, err)
	}
}

func TestCompileShowsCompilerErrors(t *testing.T) {
	p := program(t)
	if err := os.WriteFile(filepath.Join(p.Root, "main.go"), []byte("package main\nfunc main() { undefinedName() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := image.Compile(t.Context(), p, filepath.Join(t.TempDir(), "program"))
	if err == nil || !strings.Contains(err.Error(), "undefinedName") {
		t.Errorf("Compile error = %v, want the compiler's", err)
	}
}

func TestLibrariesOfStaticBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ELF binaries run on Linux only")
	}
	libraries, err := image.Libraries(t.Context(), compiled(t, program(t)))
	if err != nil || len(libraries) != 0 {
		t.Errorf("Libraries = %v, %v; want none", libraries, err)
	}
}

func TestLibrariesOfDynamicBinary(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if runtime.GOOS != "linux" || err != nil {
		t.Skip("needs a dynamically linked program of a Linux system")
	}
	libraries, err := image.Libraries(t.Context(), shell)
	if err != nil {
		t.Fatal(err)
	}
	var libc, loader bool
	for _, library := range libraries {
		if _, err := os.Stat(library); err != nil {
			t.Errorf("library does not exist: %v", err)
		}
		libc = libc || strings.Contains(library, "libc.")
		loader = loader || strings.Contains(library, "ld-")
	}
	if !libc || !loader {
		t.Errorf("Libraries = %v, want the C library and the loader among them", libraries)
	}
}

func TestLibrariesOfNoBinary(t *testing.T) {
	if _, err := image.Libraries(t.Context(), filepath.Join("testdata", "program", "go.mod.txt")); err == nil {
		t.Error("Libraries of a text file gave no error")
	}
}
