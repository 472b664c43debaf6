package release_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/cli/release"
	"github.com/osm-edge/osm/tests/apitest"
)

func engine(t *testing.T, server *apitest.Server) *release.Engine {
	t.Helper()
	server.Start()
	t.Cleanup(server.Close)
	flags := genericclioptions.NewConfigFlags(false)
	url := server.URL()
	flags.APIServer = &url
	flags.WithWrapConfigFn(func(config *rest.Config) *rest.Config {
		config.QPS = -1 // no limit
		return config
	})
	e, err := release.New(flags, "osm-system", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A release whose context has ended is failed, not pending, and an upgrade of it can follow.
func TestCancelled(t *testing.T) {
	server := &apitest.Server{Stuck: map[string]string{"osm-injector": "CrashLoopBackOff"}}
	e := engine(t, server)
	reason := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	request := release.Request{Name: "osm", Chart: builtIn(t), CreateNamespace: true, Observe: func(c release.Component) {
		if c.Name == "osm-injector" && !c.Done {
			cancel(reason)
		}
	}}
	if err := e.Install(ctx, request); !errors.Is(err, reason) && !strings.Contains(err.Error(), reason.Error()) {
		t.Fatalf("Install = %v", err)
	}
	info, err := e.Info("osm")
	if err != nil || info.Status != "failed" || info.Pending || info.EverDeployed {
		t.Fatalf("Info = %+v, %v; want failed, never deployed", info, err)
	}
	server.Fix(func(s *apitest.Server) { s.Stuck = nil })
	request.Observe = nil
	if err := e.Upgrade(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if info, err := e.Info("osm"); err != nil || info.Status != "deployed" || info.Revision != 2 {
		t.Errorf("Info = %+v, %v; want revision 2 deployed", info, err)
	}
}

// A failed upgrade leaves the values of the deployed revision in force, and rolls back to it.
func TestRollback(t *testing.T) {
	server := &apitest.Server{}
	e := engine(t, server)
	request := release.Request{Name: "osm", Chart: builtIn(t), CreateNamespace: true, Values: user(t, "osm.osmController.replicaCount=2")}
	if err := e.Install(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	server.Fix(func(s *apitest.Server) { s.FailJobs = true })
	request.Values = user(t, "osm.osmController.replicaCount=3")
	if err := e.Upgrade(t.Context(), request); err == nil || !strings.Contains(err.Error(), "job osm-bootstrap failed") {
		t.Fatalf("Upgrade = %v; want the failed job", err)
	}
	info, err := e.Info("osm")
	if err != nil || info.Status != "failed" || !info.EverDeployed {
		t.Fatalf("Info = %+v, %v", info, err)
	}
	if n, _ := info.Values.Int("osm.osmController.replicaCount"); n != 2 {
		t.Errorf("values in force: %v; want those of the deployed revision", info.Values)
	}
	server.Fix(func(s *apitest.Server) { s.FailJobs = false })
	if err := e.Rollback(t.Context(), "osm", nil); err != nil {
		t.Fatal(err)
	}
	if info, err := e.Info("osm"); err != nil || info.Status != "deployed" {
		t.Errorf("Info = %+v, %v; want deployed", info, err)
	}
}

func TestInfoNotFound(t *testing.T) {
	if _, err := engine(t, &apitest.Server{}).Info("osm"); !errors.Is(err, release.ErrNotFound) {
		t.Errorf("Info = %v; want ErrNotFound", err)
	}
}

// After a process died half-way, its release must be recovered before the next operation.
func TestRecover(t *testing.T) {
	server := &apitest.Server{Stuck: map[string]string{"osm-injector": "CrashLoopBackOff"}}
	e := engine(t, server)
	request := release.Request{Name: "osm", Chart: builtIn(t), CreateNamespace: true}
	died := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	request.Observe = func(c release.Component) {
		if c.Name == "osm-injector" && !c.Done {
			select {
			case <-died:
			default:
				close(died)
			}
		}
	}
	go func() { done <- e.Install(ctx, request) }()
	<-died
	info, err := e.Info("osm")
	if err != nil || !info.Pending {
		t.Fatalf("Info = %+v, %v; want pending", info, err)
	}
	if err := e.Recover("osm"); err != nil {
		t.Fatal(err)
	}
	if info, err := e.Info("osm"); err != nil || info.Status != "failed" {
		t.Errorf("Info = %+v, %v; want failed", info, err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled installation succeeded")
	}
}

func user(t *testing.T, sets ...string) release.Values {
	t.Helper()
	values, err := release.Layers{Sets: sets}.Merge()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestRender(t *testing.T) {
	request := release.Request{Name: "osm", Chart: builtIn(t)}
	first, err := release.Render(request, "osm-system", "1.31")
	if err != nil {
		t.Fatal(err)
	}
	second, err := release.Render(request, "osm-system", "1.31")
	if err != nil || first != second {
		t.Errorf("two renderings differ (%v)", err)
	}
	objects, err := release.Objects(first)
	if err != nil || len(objects) != strings.Count(first, "\nkind: ") {
		t.Errorf("%d objects, %v", len(objects), err)
	}
	if _, err := release.Render(request, "osm-system", "1.30"); err == nil {
		t.Error("rendered for a Kubernetes that is too old")
	}
	request.Values = user(t, "osm.osmController.autoScale.minReplicas=9")
	var refused release.TemplateError
	if _, err := release.Render(request, "osm-system", "1.31"); !errors.As(err, &refused) || strings.Contains(err.Error(), "execution error") {
		t.Errorf("Render = %v; want the template's own words", err)
	}
}

// An autoscaler goes before the chart sets the replicas again: otherwise it could change the number once more.
func TestAutoscalerGoesFirst(t *testing.T) {
	server := &apitest.Server{Metrics: true}
	e := engine(t, server)
	request := release.Request{Name: "osm", Chart: builtIn(t), CreateNamespace: true, Values: user(t, "osm.osmController.autoScale.enable=true")}
	if err := e.Install(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	server.Forget()
	request.Values = user(t, "osm.osmController.replicaCount=2")
	if err := e.Upgrade(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	writes := server.Writes()
	gone := slices.IndexFunc(writes, func(w string) bool { return strings.HasPrefix(w, "DELETE horizontalpodautoscalers") })
	set := slices.IndexFunc(writes, func(w string) bool { return strings.HasPrefix(w, "PATCH deployments") })
	if gone < 0 || set < 0 || gone > set {
		t.Errorf("writes %v; want the autoscaler deleted before the Deployment is patched", writes)
	}
}
