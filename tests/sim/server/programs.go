package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs holds the paths of the programs that a run needs.
type Programs struct {
	Etcd, APIServer, ControlPlane string
	// Env holds further variables of a controller's environment, NAME=value.
	Env []string

	// help is the control plane's help for its controller's flags: older versions, which a run may
	// be compared with, do not have all of them.
	help string
}

// Find fills in the empty fields: etcd and kube-apiserver are those of the local cluster (see demo/cluster),
// which compiles them the first time; osm-controlplane is compiled from this checkout into dir.
// repo is the root of the checkout.
func (p Programs) Find(ctx context.Context, repo, dir string) (Programs, error) {
	var err error
	if p.Etcd == "" {
		if p.Etcd, err = exec.LookPath("etcd"); err != nil {
			return p, fmt.Errorf("find etcd: %w: install the package etcd-server or say where it is with -etcd", err)
		}
	}
	if p.APIServer == "" {
		if p.APIServer, err = apiServer(ctx, repo); err != nil {
			return p, err
		}
	}
	if p.ControlPlane == "" {
		p.ControlPlane = filepath.Join(dir, "osm-controlplane")
		if err := BuildControlPlane(ctx, repo, p.ControlPlane); err != nil {
			return p, err
		}
	}
	for _, program := range []*string{&p.Etcd, &p.APIServer, &p.ControlPlane} {
		if *program, err = filepath.Abs(*program); err != nil {
			return p, fmt.Errorf("find a program: %w", err)
		}
		if _, err := os.Stat(*program); err != nil {
			return p, fmt.Errorf("find a program: %w", err)
		}
	}
	help, err := exec.CommandContext(ctx, p.ControlPlane, "controller", "--help").CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("ask %s for its flags: %w:\n%s", p.ControlPlane, err, help)
	}
	p.help = string(help)
	return p, nil
}

// BuildControlPlane compiles osm-controlplane from the checkout, with further flags of go build.
func BuildControlPlane(ctx context.Context, repo, program string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", program}, flags...)
	_, err := goTool(ctx, repo, append(args, "./cmd/osm-controlplane")...)
	return err
}

// debugs reports whether the controller has a debug address.
func (p Programs) debugs() bool { return strings.Contains(p.help, "--debug-address") }

// apiServer gets the program from the local cluster's tool, which compiles it if needed.
func apiServer(ctx context.Context, repo string) (string, error) {
	ask := func() (string, error) {
		return goTool(ctx, filepath.Join(repo, "demo", "cluster"), "run", "./cmd/cluster", "path", "kube-apiserver", "--repo", repo)
	}
	path, err := ask()
	if err == nil {
		return path, nil
	}
	if _, err := goTool(ctx, filepath.Join(repo, "demo", "cluster"), "run", "./cmd/cluster", "build", "--repo", repo); err != nil {
		return "", err
	}
	return ask()
}

// goTool runs the go command in a folder and returns what it printed.
func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w:\n%s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Repo returns the root of the checkout that the working directory is in.
func Repo(ctx context.Context) (string, error) {
	file, err := goTool(ctx, ".", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	if file == "" || file == os.DevNull {
		return "", errors.New("run it inside the checkout of osm")
	}
	return filepath.Dir(file), nil
}

func randomToken() (string, error) {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}

func answersOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s responds %s", url, resp.Status)
	}
	return nil
}
