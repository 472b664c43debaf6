package notices

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// Part is one compiled-in module, or a part of one that was copied from elsewhere.
type Part struct {
	// Module is its path, Version its version; of the standard library it is empty.
	Module, Version string
	// Licences are the SPDX names of its licences, sorted.
	Licences []string
	// Texts are the files that must be passed on: licences and notices.
	Texts []Text
}

// Text is a file of a module.
type Text struct {
	// Name is the file's, below the module's folder.
	Name    string
	Content string
}

// platforms are the platforms of the programs. Each compiles in some code of its own.
func platforms() []string { return []string{"linux/amd64", "darwin/arm64", "windows/amd64"} }

// allowed are the licences that may be part of a program under Apache-2.0, and why.
func allowed() map[string]string {
	return map[string]string{
		"Apache-2.0":   "the same licence",
		"BSD-2-Clause": "permissive",
		"BSD-3-Clause": "permissive",
		"ISC":          "permissive",
		"MIT":          "permissive",
		"MPL-2.0":      "covers its own files, which are used unchanged; the module's path says where their source is",
	}
}

// pkg is a package as described by `go list`.
type pkg struct {
	Dir    string
	Module *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// Collect returns the modules that are compiled into packages, on any platform, sorted by path.
func Collect(ctx context.Context, root string, packages []string) ([]Part, error) {
	if len(packages) == 0 {
		return nil, errors.New("no packages: name those of the programs")
	}
	parts := map[string]*Part{}
	seen := map[string]bool{} // folders
	for _, platform := range platforms() {
		listed, err := list(ctx, root, platform, packages)
		if err != nil {
			return nil, err
		}
		for _, p := range listed {
			if p.Module == nil || p.Module.Main {
				continue
			}
			part := parts[p.Module.Path]
			if part == nil {
				part = &Part{Module: p.Module.Path, Version: p.Module.Version}
				parts[p.Module.Path] = part
			}
			if err := part.add(p.Module.Dir, p.Dir, seen); err != nil {
				return nil, err
			}
		}
	}
	var sorted []Part
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := parts[name].check(); err != nil {
			return nil, err
		}
		sorted = append(sorted, *parts[name])
	}
	return sorted, nil
}

func list(ctx context.Context, root, platform string, packages []string) ([]pkg, error) {
	system, arch, _ := strings.Cut(platform, "/")
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=Dir,Module"}, packages...)...) // #nosec G204 -- the caller's own packages
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages for %s: %w: %s", platform, err, bytes.TrimSpace(complaints.Bytes()))
	}
	var listed []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return listed, nil
		} else if err != nil {
			return nil, fmt.Errorf("list packages for %s: %w", platform, err)
		}
		listed = append(listed, p)
	}
}

// passedOn matches the names of files that must accompany a program.
var passedOn = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense|copyright)([.-].*)?$`)

// add takes the texts of a package's folder and of those above it, up to the module's. What was copied
// from elsewhere often has a licence of its own further down.
func (p *Part) add(module, folder string, seen map[string]bool) error {
	for ; ; folder = filepath.Dir(folder) {
		if inside, err := filepath.Rel(module, folder); err != nil || strings.HasPrefix(inside, "..") {
			return fmt.Errorf("package folder %s is not in its module %s", folder, module)
		}
		if !seen[folder] {
			seen[folder] = true
			if err := p.addFolder(module, folder); err != nil {
				return err
			}
		}
		if folder == module {
			return nil
		}
	}
}

func (p *Part) addFolder(module, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		// Names that end in .docs concern texts that are not compiled in.
		if !entry.Type().IsRegular() || !passedOn.MatchString(name) || slices.Contains([]string{".go", ".docs"}, filepath.Ext(name)) {
			continue
		}
		file := filepath.Join(folder, name)
		content, err := os.ReadFile(file) // #nosec G304 -- in the module cache
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(module, file)
		if err != nil {
			return err
		}
		p.Texts = append(p.Texts, Text{filepath.ToSlash(inside), tidy(string(content))})
	}
	return nil
}

// tidy normalizes line endings, so that texts can be compared.
func tidy(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}

// enough is the percentage of a text that must match a known licence for it to count as that licence.
const enough = 75

// check identifies the licenses and returns an error for one that must not be shipped.
func (p *Part) check() error {
	slices.SortFunc(p.Texts, func(a, b Text) int { return cmp.Compare(a.Name, b.Name) })
	names := map[string]bool{}
	for _, text := range p.Texts {
		if isNotice(text.Name) {
			continue
		}
		found := licensecheck.Scan([]byte(text.Content))
		if len(found.Match) == 0 || found.Percent < enough {
			return fmt.Errorf("module %s: %s is not a known license (%.0f %% of it matches): read it, and remove the module or extend the list", p.Module, text.Name, found.Percent)
		}
		for _, match := range found.Match {
			if allowed()[match.ID] == "" {
				return fmt.Errorf("module %s: %s is under %s, which is not on the list of licenses that may be combined with Apache-2.0", p.Module, text.Name, match.ID)
			}
			names[match.ID] = true
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("module %s has no license file: it must not be shipped", p.Module)
	}
	p.Licences = slices.Sorted(maps.Keys(names))
	return nil
}

func isNotice(name string) bool {
	return strings.HasPrefix(strings.ToLower(filepath.Base(name)), "notice")
}

// Standard is Go's standard library, whose license is in Go's own folder.
func Standard(version, root string) (Part, error) {
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return Part{}, fmt.Errorf("find the folder of %s: %w", version, err)
	}
	p := Part{Module: "Go's standard library"}
	folder := strings.TrimSpace(string(out))
	if err := p.addFolder(folder, folder); err != nil {
		return Part{}, err
	}
	return p, p.check()
}
