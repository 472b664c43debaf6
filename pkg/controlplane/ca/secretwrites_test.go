package ca_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayWrite lists the files that write Secrets and the calls that they may make; mayPass lists those
// that pass a client of Secrets to one of these. Both are below pkg/controlplane.
func mayWrite() map[string][]string {
	return map[string][]string{
		"ca/tresor/createorget.go": {"Create"},
		"ca/secrets/apply.go":      {"Apply"},
		"ca/secrets/remove.go":     {"Delete"},
	}
}

func mayPass() []string { return []string{"ca/tresor/store.go", "ca/tresor/restore.go"} } // to CreateOrGet, which can only create and get

// TestWhoWritesSecrets is R1's other half: shared Secrets are created by CreateOrGet and by
// nothing else, so that no code path can overwrite a root. It reads the sources.
func TestWhoWritesSecrets(t *testing.T) {
	files := map[string]*ast.File{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		files[filepath.ToSlash(strings.TrimPrefix(path, "../"))] = parsed
		return err
	})
	must(t, err)
	if files["ca/tresor/createorget.go"] == nil || len(files) < 50 {
		t.Fatalf("%d files read: the paths have changed", len(files))
	}
	used := map[string][]string{}
	for path, file := range files {
		found := secretUses(file)
		if path == "ca/tresor/createorget.go" {
			found = append(found, methodsOn(file, "secrets")...)
		}
		for _, use := range found {
			used[path] = append(used[path], use)
			switch {
			case use == "Get", use == "List", use == "Watch":
			case use == passed && slices.Contains(mayPass(), path):
			case slices.Contains(mayWrite()[path], use):
			default:
				t.Errorf("%s: %s of Secrets: only %v may write them", path, use, mayWrite())
			}
		}
	}
	for path, verbs := range mayWrite() {
		for _, verb := range verbs {
			if !slices.Contains(used[path], verb) {
				t.Errorf("%s no longer calls %s: the rule is out of date", path, verb)
			}
		}
	}
}

// passed is a client of Secrets that is stored or passed on instead of being called.
const passed = "passing on a client"

// secretUses lists what a file does with clients of Secrets, typed and dynamic.
func secretUses(file *ast.File) (uses []string) {
	called := map[ast.Expr]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); ok {
			called[method.X] = method.Sel.Name
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		switch node := n.(type) {
		case *ast.CallExpr:
			if selector, ok := node.Fun.(*ast.SelectorExpr); ok && selector.Sel.Name == "Secrets" && len(node.Args) == 1 {
				use := called[node]
				if use == "" {
					use = passed
				}
				uses = append(uses, use)
			}
		case *ast.BasicLit:
			if node.Kind == token.STRING && strings.Trim(node.Value, "`\"") == "secrets" {
				uses = append(uses, fmt.Sprintf("naming the resource %s", node.Value))
			}
		}
		return true
	})
	return uses
}

// methodsOn lists the methods that are called on a variable.
func methodsOn(file *ast.File, variable string) (methods []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); ok {
			if receiver, ok := method.X.(*ast.Ident); ok && receiver.Name == variable {
				methods = append(methods, method.Sel.Name)
			}
		}
		return true
	})
	return methods
}

// TestSecretUsesSees shows what the rule catches.
func TestSecretUsesSees(t *testing.T) {
	tests := map[string]string{
		`client.CoreV1().Secrets(ns).Update(ctx, secret, opts)`:                "Update",
		`client.CoreV1().Secrets(ns).Patch(ctx, name, kind, data, opts)`:       "Patch",
		`s := client.CoreV1().Secrets(ns); s.Update(ctx, secret, opts)`:        passed,
		`write(client.CoreV1().Secrets(ns))`:                                   passed,
		`client.Resource(schema.GroupVersionResource{Resource: "secrets"})`:    `naming the resource "secrets"`,
		`client.CoreV1().RESTClient().Put().Resource("secrets").Do(ctx)`:       `naming the resource "secrets"`,
		`client.CoreV1().Secrets(ns).Get(ctx, name, opts)`:                     "Get",
		`factory.Core().V1().Secrets().Informer()`:                             "",
		`client.CoreV1().ConfigMaps(ns).Update(ctx, configMap, updateOptions)`: "",
	}
	for source, want := range tests {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() {\n"+source+"\n}", 0)
		must(t, err)
		if got := strings.Join(secretUses(file), ","); got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}
