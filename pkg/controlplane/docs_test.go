package controlplane_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameTestsThatExist keeps the documents from citing a proof that is gone or was renamed.
func TestDocsNameTestsThatExist(t *testing.T) {
	const root = "../.."
	defined := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			defined[match[1]] = true
		}
		return err
	})
	if err != nil || len(defined) < 100 {
		t.Fatalf("%d tests found, %v", len(defined), err)
	}
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	decisions, err := filepath.Glob(root + "/docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)")
	for _, page := range append(append(pages, decisions...), root+"/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range cited.FindAllStringSubmatch(string(text), -1) {
			if !defined[match[1]] {
				t.Errorf("%s cites %s, which does not exist", strings.TrimPrefix(page, root+"/"), match[1])
			}
		}
	}
}

// TestMapIsComplete compares the packages that the package comment lists with those that exist. A line of a list is
// indented by a tab and starts with the name of a package; the glossary is no list of packages.
func TestMapIsComplete(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	lists, _, found := strings.Cut(string(text), "\n// # Glossary\n")
	if !found {
		t.Fatal("doc.go has no glossary")
	}
	mapped := map[string]bool{"identity": true, "mesh": true} // in a sentence, since they are no steps
	for _, match := range regexp.MustCompile(`(?m)^//\t(\S+)  `).FindAllStringSubmatch(lists, -1) {
		mapped[match[1]] = true
	}
	for _, p := range list(t) {
		name, below := strings.CutPrefix(p.ImportPath, module+"pkg/controlplane/")
		if !below {
			continue
		}
		if !mapped[name] {
			t.Errorf("doc.go does not list package %s", name)
		}
		delete(mapped, name)
	}
	for name := range mapped {
		t.Errorf("doc.go lists package %s, which does not exist", name)
	}
}
