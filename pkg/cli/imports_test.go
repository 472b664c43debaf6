package cli_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Some libraries may be imported in one place only, for the reason given.
func TestImports(t *testing.T) {
	const controlPlane = "github.com/osm-edge/osm/pkg/controlplane"
	rules := []struct {
		library, only, reason string
		except                []string
	}{
		{library: "helm.sh/helm", only: "release", reason: "the rest of the CLI must not depend on how a mesh is installed"},
		{library: "github.com/AlecAivazis/survey", only: "prompt", reason: "a question anywhere else could hang without a terminal"},
		// Package rotation is pure: the CLI describes a rotation with the types and rules of the control
		// plane. So is package crds: the CLI and the install hook check with the same code whether a
		// CustomResourceDefinition may be replaced.
		{library: controlPlane, only: "nobody", reason: "the CLI talks to the control plane over the network", except: []string{controlPlane + "/rotation", controlPlane + "/bootstrap/crds"}},
	}
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			for _, rule := range rules {
				if !strings.HasPrefix(strings.Trim(spec.Path.Value, `"`), rule.library) {
					continue
				}
				used[rule.library] = true
				if slices.Contains(rule.except, strings.Trim(spec.Path.Value, `"`)) {
					continue
				}
				if filepath.Dir(path) != rule.only {
					t.Errorf("%s imports %s; only %s may: %s", path, spec.Path.Value, rule.only, rule.reason)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if !used[rule.library] {
			t.Errorf("nothing imports %s any more: remove the rule", rule.library)
		}
	}
}
