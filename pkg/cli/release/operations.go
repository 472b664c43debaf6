package release

import (
	"context"
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/action"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
)

// Request is one install or upgrade.
type Request struct {
	Name   string
	Chart  *Chart
	Values Values // all of the user's values: nothing is added from earlier revisions
	// CreateNamespace makes the release's namespace first (install only).
	CreateNamespace bool
	// SkipHooks skips the chart's hooks, for changes that affect neither CRDs nor the MeshConfig.
	SkipHooks bool
	// Observe is called with each change of the workloads while they become ready. It may be nil.
	Observe Observer
	// Tick is called again and again while the workloads become ready, from the same goroutine as Observe. It may be nil.
	Tick func(ctx context.Context)
}

// Install installs a new release and waits until its workloads are ready or ctx ends. On error
// the release is left in state "failed", with everything that was created, for diagnosis.
func (e *Engine) Install(ctx context.Context, request Request) error {
	install := action.NewInstall(e.config(ctx, request.Name, request.Observe, request.Tick))
	install.ReleaseName = request.Name
	install.Namespace = e.namespace
	install.CreateNamespace = request.CreateNamespace
	install.Wait = true
	install.DisableHooks = request.SkipHooks
	install.Timeout = unlimited
	if _, err := install.Run(request.Chart.chart, request.Values); err != nil {
		return fmt.Errorf("install release %q in namespace %q: %w", request.Name, e.namespace, plain(ctx, err))
	}
	return nil
}

// Upgrade moves an existing release to the request's chart and values, and waits as Install does.
// On error the new revision is left in state "failed" and the old one stays the deployed one.
func (e *Engine) Upgrade(ctx context.Context, request Request) error {
	upgrade := action.NewUpgrade(e.config(ctx, request.Name, request.Observe, request.Tick))
	upgrade.Namespace = e.namespace
	upgrade.Wait = true
	upgrade.Timeout = unlimited
	upgrade.ResetValues = true // the request's values are complete
	upgrade.DisableHooks = request.SkipHooks
	upgrade.MaxHistory = 10
	if _, err := upgrade.Run(request.Name, request.Chart.chart, request.Values); err != nil {
		return fmt.Errorf("upgrade release %q in namespace %q: %w", request.Name, e.namespace, plain(ctx, err))
	}
	return nil
}

// Uninstall removes a release and its history. A release that does not exist is not an error.
func (e *Engine) Uninstall(ctx context.Context, name string) error {
	uninstall := action.NewUninstall(e.config(ctx, name, nil, nil))
	uninstall.Timeout = unlimited
	_, err := uninstall.Run(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("uninstall release %q from namespace %q: %w", name, e.namespace, plain(ctx, err))
	}
	return nil
}

// Rollback returns to the last revision that was deployed, and waits as Install does.
func (e *Engine) Rollback(ctx context.Context, name string, observe Observer) error {
	target, err := e.lastGood(name)
	if err != nil {
		return err
	}
	rollback := action.NewRollback(e.config(ctx, name, observe, nil))
	rollback.Version = target
	rollback.Wait = true
	rollback.Timeout = unlimited
	rollback.MaxHistory = 10
	if err := rollback.Run(name); err != nil {
		return fmt.Errorf("roll release %q in namespace %q back to revision %d: %w", name, e.namespace, target, plain(ctx, err))
	}
	return nil
}

func (e *Engine) lastGood(name string) (int, error) {
	deployed, err := e.releases.Deployed(name)
	if err != nil {
		return 0, fmt.Errorf("find a good revision of release %q in namespace %q: %w", name, e.namespace, err)
	}
	return deployed.Version, nil
}

// DryRun builds the release as Install (or, for an existing release, Upgrade) would, against the
// real cluster, and sends every object as a server-side dry run. Nothing is changed. It returns
// how many objects could not be tried because the namespace does not exist yet.
func (e *Engine) DryRun(ctx context.Context, request Request, upgrade bool) (manifest string, untried int, err error) {
	config := e.config(ctx, request.Name, nil, nil)
	rendered, err := e.dryRelease(config, request, upgrade)
	if err != nil {
		return "", 0, fmt.Errorf("dry run of release %q in namespace %q: %w", request.Name, e.namespace, plain(ctx, err))
	}
	untried, err = e.tryObjects(ctx, rendered.Manifest)
	if err != nil {
		return "", 0, fmt.Errorf("dry run of release %q in namespace %q: %w", request.Name, e.namespace, plain(ctx, err))
	}
	return document(rendered), untried, nil
}

func (e *Engine) dryRelease(config *action.Configuration, request Request, upgrade bool) (*helmrelease.Release, error) {
	if upgrade {
		up := action.NewUpgrade(config)
		up.Namespace, up.DryRunOption, up.ResetValues = e.namespace, "server", true
		return up.Run(request.Name, request.Chart.chart, request.Values)
	}
	install := action.NewInstall(config)
	install.ReleaseName, install.Namespace, install.DryRunOption = request.Name, e.namespace, "server"
	return install.Run(request.Chart.chart, request.Values)
}
