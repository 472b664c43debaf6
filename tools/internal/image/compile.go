package image

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is a Go main package to compile for an image.
type Program struct {
	// Root is the folder of the Go module, Package the package's path below it ("./cmd/x").
	Root, Package string
	// Arch is the GOARCH to compile for.
	Arch string
	// Variables are linker settings, "main.version" to its value.
	Variables map[string]string
}

// Compile builds the program without cgo into the file output. The same sources give the same
// bytes in any folder. It fails if the result still needs a dynamic loader, because an
// image FROM scratch has none.
func Compile(ctx context.Context, p Program, output string) error {
	abs, err := filepath.Abs(output)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", output, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", p.linkerFlags(), "-o", abs, p.Package) //nolint:gosec // arguments come from the project's own table
	cmd.Dir = p.Root
	// Neither a workspace around the sources nor the user's flags may change the result.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.Arch, "GOWORK=off", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s for %s: %w\n%s", p.Package, p.Arch, err, strings.TrimSpace(stderr.String()))
	}
	loader, err := interpreter(abs)
	if err != nil {
		return err
	}
	if loader != "" {
		return fmt.Errorf("compile %s: the binary needs the loader %s: an image FROM scratch takes static binaries only", p.Package, loader)
	}
	return nil
}

func (p Program) linkerFlags() string {
	flags := []string{"-s", "-w"}
	for _, name := range sortedKeys(p.Variables) {
		flags = append(flags, "-X", name+"="+p.Variables[name])
	}
	return strings.Join(flags, " ")
}

// interpreter returns the dynamic loader that the ELF file requests, or "" for a static binary.
func interpreter(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("read ELF header of %s: %w", file, err)
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(raw, 0); err != nil {
			return "", fmt.Errorf("read loader of %s: %w", file, err)
		}
		return string(bytes.TrimRight(raw, "\x00")), nil
	}
	return "", nil
}
