// Package toolchain compiles Kubernetes, CoreDNS, metrics-server and the enforcer of NetworkPolicies from the Go
// modules pinned under demo/cluster/deps and packs what runs as a pod into images. It downloads nothing itself: the
// go command does, from the module proxy. Invariant: a cache folder has its content's key in its name and appears
// only when everything in it is complete.
package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

const kubernetesVersion = "v1.34.4"

// Module is one Go module and the programs taken from it.
type Module struct {
	Name string
	// Dir is relative to the repository.
	Dir string
	// Packages are the main packages to compile.
	Packages []string
	LDFlags  string
	// Keyed are the files, relative to Dir, whose content determines the result, together with the flags.
	Keyed []string
}

// Modules lists everything to compile. Flags are part of the key, and equal flags share Go's build cache.
func Modules() []Module {
	const version = "-X k8s.io/component-base/version."
	pins := []string{"go.mod", "go.sum", "deps.go"}
	return []Module{
		{
			Name: "kubernetes", Dir: "demo/cluster/deps/kubernetes", Keyed: pins,
			Packages: []string{
				"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes/cmd/kube-scheduler",
				"k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-proxy", "k8s.io/kubernetes/cmd/kubectl",
			},
			LDFlags: "-s -w " + version + "gitVersion=" + kubernetesVersion + " " + version + "gitMajor=1 " + version + "gitMinor=34",
		},
		{
			Name: "metrics-server", Dir: "demo/cluster/deps/metrics-server", Keyed: pins,
			Packages: []string{"sigs.k8s.io/metrics-server/cmd/metrics-server"}, LDFlags: "-s -w",
		},
		{
			Name: "coredns", Dir: "demo/cluster/deps/coredns", Keyed: pins,
			Packages: []string{"github.com/coredns/coredns"}, LDFlags: "-s -w",
		},
		{
			Name: "network-policies", Dir: "demo/cluster/deps/network-policies",
			Keyed:    []string{"go.mod", "go.sum", "cmd/network-policies/main.go"},
			Packages: []string{"./cmd/network-policies"}, LDFlags: "-s -w",
		},
		{
			Name: "pause", Dir: "demo/cluster", Keyed: []string{"cmd/pause/main.go"},
			Packages: []string{"./cmd/pause"}, LDFlags: "-s -w",
		},
	}
}

// After are the names of the modules that are compiled after the named one, in order.
func After(name string) []string {
	var names []string
	found := false
	for _, m := range Modules() {
		if found {
			names = append(names, m.Name)
		}
		found = found || m.Name == name
	}
	return names
}

// FindRepository returns the first folder at or above one of starts that holds the pinned modules.
func FindRepository(starts ...string) (string, error) {
	marker := filepath.Join(Modules()[0].Dir, "go.mod")
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, marker)); err == nil {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("find the osm repository above %s: %s does not exist there; run this inside a checkout or pass --repo", strings.Join(starts, " or "), marker)
}

// Toolchain builds from Repo into Cache.
type Toolchain struct {
	Repo  string
	Cache string
}

// Path returns the folder of m's programs once built, and whether they are there.
func (t Toolchain) Path(ctx context.Context, m Module) (dir string, built bool, err error) {
	key, err := t.key(ctx, m)
	if err != nil {
		return "", false, err
	}
	dir = filepath.Join(t.Cache, m.Name+"-"+key)
	_, err = os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, false, nil
	}
	return dir, err == nil, err
}

// Build compiles m unless the cache has it, and returns the folder of its programs. It calls compiled, which may be
// nil, for each package that the compiler has finished, one call at a time. What was compiled before an interruption
// stays in Go's build cache, so the next Build continues from there.
func (t Toolchain) Build(ctx context.Context, m Module, compiled func()) (string, error) {
	dir, built, err := t.Path(ctx, m)
	if err != nil || built {
		return dir, err
	}
	if err := os.MkdirAll(t.Cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	partial, err := os.MkdirTemp(t.Cache, ".partial-"+m.Name+"-")
	if err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	defer os.RemoveAll(partial)
	if err := t.compile(ctx, m, partial, compiled); err != nil {
		return "", fmt.Errorf("compile %s: %w", m.Name, err)
	}
	if err := pack(m, partial); err != nil {
		return "", fmt.Errorf("pack image of %s: %w", m.Name, err)
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return "", fmt.Errorf("open cache folder: %w", err)
	}
	return dir, os.Rename(partial, dir)
}

func (t Toolchain) compile(ctx context.Context, m Module, out string, compiled func()) error {
	args := append([]string{"build", "-v", "-o", out + "/"}, m.flags()...)
	var output counter
	if compiled != nil {
		output.packageDone = compiled
	}
	cmd := t.goCommand(ctx, m, append(args, m.Packages...)...)
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, lastLines(output.text.Bytes()))
	}
	return nil
}

// Pending is the number of packages that Build still has to compile for m, and of all packages in it. Modules that
// are not on this machine yet are downloaded first.
func (t Toolchain) Pending(ctx context.Context, m Module) (pending, all int, err error) {
	args := append([]string{"list", "-deps", "-f", "{{.Stale}}"}, m.flags()...)
	cmd := t.goCommand(ctx, m, append(args, m.Packages...)...)
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return 0, 0, ctx.Err()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count the packages of %s: go list: %w", m.Name, err)
	}
	return strings.Count(string(output), "true\n"), strings.Count(string(output), "\n"), nil
}

// flags determine the compiler's output: equal flags share Go's build cache.
func (m Module) flags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags", m.LDFlags}
}

func (t Toolchain) goCommand(ctx context.Context, m Module, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(t.Repo, m.Dir)
	// GOWORK=off: a workspace around the repository must not change what is pinned here.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	return cmd
}

// counter keeps the output of "go build -v" and counts the lines that name a finished package. Downloads and
// diagnostics have a space in them, import paths have none.
type counter struct {
	text        bytes.Buffer
	line        []byte
	packageDone func()
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' {
			c.line = append(c.line, b)
			continue
		}
		if c.packageDone != nil && len(c.line) > 0 && !bytes.ContainsAny(c.line, " \t") {
			c.packageDone()
		}
		c.line = c.line[:0]
	}
	return c.text.Write(p)
}

func (t Toolchain) key(ctx context.Context, m Module) (string, error) {
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("get the version of go: %w (install Go from https://go.dev/dl)", err)
	}
	parts := [][]byte{version, []byte(m.LDFlags), []byte(strings.Join(m.Packages, " "))}
	for _, file := range m.Keyed {
		content, err := os.ReadFile(filepath.Join(t.Repo, m.Dir, file))
		if err != nil {
			return "", fmt.Errorf("read what pins %s: %w", m.Name, err)
		}
		parts = append(parts, content)
	}
	return hash(parts), nil
}

func hash(parts [][]byte) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:16]
}

// Programs returns the names of m's programs.
func (m Module) Programs() []string {
	var names []string
	for _, p := range m.Packages {
		names = append(names, path.Base(p))
	}
	return names
}

func lastLines(output []byte) string {
	const keep = 2000
	if len(output) > keep {
		output = output[len(output)-keep:]
	}
	return strings.TrimSpace(string(output))
}
