package mutate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/tools/txtar"
)

// Mutant is one planted fault.
type Mutant struct {
	Name    string // of its file, without .txtar
	Fault   string // what is broken, and what follows from it; one paragraph
	Claim   string // what it contradicts, such as HA-13
	File    string // that is changed, relative to the root of the repository
	Package string // whose tests must fail, such as ./pkg/controlplane/xds
	Test    string // regular expression of these tests, as go test -run takes it
	Edits   []Edit
}

// Edit replaces a text that occurs exactly once in the file.
type Edit struct{ Old, New string }

// Load reads all mutants of a folder, sorted by name.
func Load(folder string) ([]Mutant, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no mutants in %s", folder)
	}
	var mutants []Mutant
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		mutant, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		mutant.Name = strings.TrimSuffix(filepath.Base(path), ".txtar")
		mutants = append(mutants, mutant)
	}
	return mutants, nil
}

var field = regexp.MustCompile(`^(claim|file|package|test): (.+)$`)

// parse reads a mutant: a paragraph that describes the fault, one line for each field, and a section old and a
// section new for each edit.
func parse(data []byte) (Mutant, error) {
	archive := txtar.Parse(data)
	var m Mutant
	fields := map[string]*string{"claim": &m.Claim, "file": &m.File, "package": &m.Package, "test": &m.Test}
	var fault []string
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if match := field.FindStringSubmatch(line); match != nil {
			*fields[match[1]] = match[2]
		} else if line != "" {
			fault = append(fault, line)
		}
	}
	m.Fault = strings.Join(fault, " ")
	for i, section := range archive.Files {
		text := strings.TrimSuffix(string(section.Data), "\n")
		switch want := [2]string{"old", "new"}[i%2]; {
		case section.Name != want:
			return m, fmt.Errorf("section %d is %q, want %q", i+1, section.Name, want)
		case want == "old":
			m.Edits = append(m.Edits, Edit{Old: text})
		default:
			m.Edits[len(m.Edits)-1].New = text
		}
	}
	for name, value := range fields {
		if *value == "" {
			return m, fmt.Errorf("no line %q", name+": ...")
		}
	}
	if m.Fault == "" || len(archive.Files) == 0 || len(archive.Files)%2 != 0 {
		return m, errors.New("want a description of the fault, and sections old and new")
	}
	return m, nil
}

// Apply returns the content of the mutant's file with the fault.
func (m Mutant) Apply(root string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, err
	}
	text := string(data)
	for _, edit := range m.Edits {
		if n := strings.Count(text, edit.Old); n != 1 || edit.Old == edit.New {
			return nil, fmt.Errorf("%q occurs %d times in %s, want once and replaced by another text", edit.Old, n, m.File)
		}
		text = strings.Replace(text, edit.Old, edit.New, 1)
	}
	return []byte(text), nil
}
