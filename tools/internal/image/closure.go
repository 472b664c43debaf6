package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Libraries lists the shared libraries that a dynamic binary loads on this machine, its loader
// included, each at the path where the loader looks for it. A static binary has none.
//
// The loader itself lists them, so the result is what happens at run time; the binary must be
// for this machine's architecture.
func Libraries(ctx context.Context, binary string) ([]string, error) {
	loader, err := interpreter(binary)
	if err != nil || loader == "" {
		return nil, err
	}
	abs, err := filepath.Abs(binary)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", binary, err)
	}
	out, err := exec.CommandContext(ctx, loader, "--list", abs).Output() //nolint:gosec // the loader named by the binary that the user chose
	if err != nil {
		return nil, fmt.Errorf("list the libraries of %[2]s with %[1]s: %[3]w", loader, binary, err)
	}
	libraries, err := parseLibraries(out)
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", binary, err)
	}
	// The kernel opens the loader by the path in the ELF header, which --list may show differently.
	if !slices.Contains(libraries, loader) {
		libraries = append(libraries, loader)
		slices.Sort(libraries)
	}
	return libraries, nil
}

// parseLibraries reads the loader's listing: "name => path (address)" or "path (address)" a line,
// and "name (address)" for what the kernel maps itself, which has no file.
func parseLibraries(listing []byte) ([]string, error) {
	found := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(listing))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		name, target, arrow := strings.Cut(line, " => ")
		if !arrow {
			target = name
		}
		file, _, addressed := strings.Cut(target, " (")
		switch {
		case !addressed:
			return nil, fmt.Errorf("loader says %q: install the library that is missing", line)
		case filepath.IsAbs(file):
			found[file] = true
		case arrow:
			return nil, fmt.Errorf("loader says %q: want an absolute path", line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read listing: %w", err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
