package cluster

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/demo/cluster/internal/host"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/progress"
)

func example() State {
	return State{
		Plan: plan.Cluster{Name: "tst", Octet: 240, Nodes: 2}, Programs: map[string]string{"kubectl": "/c/kubectl"},
		Images: []string{"/c/image.tar"}, CNIBin: "/usr/lib/cni",
		Before: host.Before{Tunables: map[string]string{"kernel/panic": "1"}, Absent: []string{"/run/netns"}},
	}
}

func openIn(t *testing.T, dir string) (*Cluster, Site, error) {
	t.Helper()
	site := Site{Dir: dir, Name: "tst"}
	c, err := Open(site, example(), progress.New(io.Discard, time.Now))
	return c, site, err
}

func mustOpen(t *testing.T) (*Cluster, Site) {
	t.Helper()
	c, site, err := openIn(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, site
}

func TestStateIsReadBack(t *testing.T) {
	_, site := mustOpen(t)
	if err := site.save(example()); err != nil {
		t.Fatal(err)
	}
	got, err := site.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadDistinguishesAbsentFromBroken(t *testing.T) {
	_, site := mustOpen(t)
	if _, err := site.Load(); !errors.Is(err, ErrAbsent) {
		t.Errorf("without a state file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(site.ClusterDir(), stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Load(); err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "cluster down") {
		t.Errorf("with half a state file: %v", err)
	}
}

func TestASecondClusterInheritsTheMachineAsItWas(t *testing.T) {
	dir := t.TempDir()
	first, second := Site{Dir: dir, Name: "one"}, Site{Dir: dir, Name: "two"}
	if err := os.Mkdir(first.ClusterDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := first.save(example()); err != nil {
		t.Fatal(err)
	}
	got, err := second.Before()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example().Before, got); diff != "" {
		t.Error(diff)
	}
	if others, err := first.others(); err != nil || len(others) != 0 {
		t.Errorf("the first cluster sees others: %v, %v", others, err)
	}
}

func TestOnlyOneCommandChangesACluster(t *testing.T) {
	_, site := mustOpen(t)
	if _, _, err := openIn(t, site.Dir); err == nil || !strings.Contains(err.Error(), "another command") {
		t.Errorf("the second command got %v", err)
	}
}

func TestStateFolderMustBePlainAndShort(t *testing.T) {
	for _, dir := range []string{"/tmp/with space", "relative", "/" + strings.Repeat("x", 80)} {
		if _, _, err := openIn(t, dir); err == nil || !strings.Contains(err.Error(), "--state") {
			t.Errorf("%q gives %v", dir, err)
		}
	}
}

func TestPrepareWritesOnce(t *testing.T) {
	c, site := mustOpen(t)
	snapshot := func() map[string]time.Time {
		if err := c.prepare(); err != nil {
			t.Fatal(err)
		}
		times := map[string]time.Time{}
		err := filepath.Walk(site.ClusterDir(), func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				times[path] = info.ModTime()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return times
	}
	first := snapshot()
	for _, file := range []string{"kube/admin.yaml", "kube/node-2.yaml", "pki/apiserver.crt", "node-1/kubelet.yaml", "node-2/cni/10-pods.conflist", "master/kube-proxy.yaml"} {
		if _, ok := first[filepath.Join(c.dir, file)]; !ok {
			t.Errorf("%s was not written", file)
		}
	}
	if diff := cmp.Diff(first, snapshot()); diff != "" {
		t.Errorf("the second run wrote files again:\n%s", diff)
	}
}

func TestWaitEnds(t *testing.T) {
	c, _ := mustOpen(t)
	asked := 0
	err := c.wait(t.Context(), "the third time", func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || asked != 3 {
		t.Errorf("checked %d times, %v", asked, err)
	}
	never := func(context.Context) error { return errors.New("still closed") }
	if err := c.wait(t.Context(), "a dead daemon", never, "etcd"); err == nil || !strings.Contains(err.Error(), "etcd has died") {
		t.Errorf("with a dead daemon: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked = 0
	err = c.wait(ctx, "nothing", func(context.Context) error {
		if asked++; asked == 2 {
			cancel()
		}
		return errors.New("still closed")
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "still closed") {
		t.Errorf("when cancelled: %v", err)
	}
}

func TestLoadNamesFailedNodes(t *testing.T) {
	c, site := mustOpen(t)
	archive := filepath.Join(site.Dir, "image.tar")
	if err := c.LoadImages(t.Context(), []string{archive}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing archive gives %v", err)
	}
	if err := os.WriteFile(archive, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := c.LoadImages(t.Context(), []string{archive})
	if err == nil || !strings.Contains(err.Error(), "node-1") || !strings.Contains(err.Error(), "node-2") {
		t.Errorf("with both nodes stopped: %v", err)
	}
}
