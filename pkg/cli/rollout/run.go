package rollout

import (
	"context"
	"fmt"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// ServerDryRun lets the API server try a new mesh, and prints it.
func (c *Change) ServerDryRun(ctx context.Context, engine *release.Engine, t Target) error {
	manifest, untried, err := engine.DryRun(ctx, t.Request(), false)
	if err != nil {
		return err
	}
	t.manifest = manifest
	return c.preview(t, untried)
}

// Install installs a mesh, creating its namespace if there is none. If it fails, the reasons are printed, the
// install hook loses its rights and, with Atomic, everything is removed again.
func (c *Change) Install(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target) error {
	exists, err := cluster.NamespaceExists(ctx, clients.Kube, t.Namespace)
	if err != nil {
		return err
	}
	c.Env.Progressf("installing mesh [%s] in namespace [%s]\n", t.Name, t.Namespace)
	limited, cancel := c.Timeout.Limit(ctx)
	defer cancel()
	request := t.Request()
	request.CreateNamespace, request.Observe = !exists, c.observer()
	request.Tick = newReasons(c.Env, clients.Kube, t.Namespace).look
	if err := engine.Install(limited, request); err != nil {
		return c.installFailed(ctx, clients, engine, t, err)
	}
	c.WarnHeadless(ctx, clients, t.Namespace)
	return nil
}

func (c *Change) installFailed(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target, cause error) error {
	if info, err := command.ExistingRelease(engine, t.Name); err == nil && info == nil {
		c.RemoveHook(ctx, clients, t, true)
		return fmt.Errorf("%w; nothing was installed", cause)
	}
	c.diagnose(ctx, clients, t.Namespace)
	c.RemoveHook(ctx, clients, t, c.Atomic)
	if !c.Atomic {
		return fmt.Errorf("%w; what was installed is still there: fix the cause and run the same command with --recover, or remove it with osm uninstall mesh --mesh-name %s --osm-namespace %s", cause, t.Name, t.Namespace)
	}
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	c.Env.Progressf("removing mesh [%s] again (--atomic)\n", t.Name)
	if err := engine.Uninstall(ctx, t.Name); err != nil {
		return fmt.Errorf("%w; and removing it again failed: %w", cause, err)
	}
	return fmt.Errorf("%w; everything was removed again (--atomic)", cause)
}

// Upgrade upgrades a mesh, even after a killed process: info is its current release. If it fails, the
// reasons are printed and, with Atomic, the mesh returns to its previous state.
func (c *Change) Upgrade(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target, info *release.Info, skipHooks bool) error {
	if info.Pending {
		if err := engine.Recover(t.Name); err != nil {
			return err
		}
	}
	limited, cancel := c.Timeout.Limit(ctx)
	defer cancel()
	request := t.Request()
	request.SkipHooks, request.Observe = skipHooks, c.observer()
	request.Tick = newReasons(c.Env, clients.Kube, t.Namespace).look
	if err := engine.Upgrade(limited, request); err != nil {
		return c.upgradeFailed(ctx, clients, engine, t, skipHooks, err)
	}
	c.WarnHeadless(ctx, clients, t.Namespace)
	return nil
}

func (c *Change) upgradeFailed(ctx context.Context, clients *cluster.Clients, engine *release.Engine, t Target, skipHooks bool, cause error) error {
	c.diagnose(ctx, clients, t.Namespace)
	if !skipHooks {
		c.RemoveHook(ctx, clients, t, false)
	}
	if !c.Atomic {
		// Not by helm rollback: a policy refuses it where it would leave one replica for a while.
		return fmt.Errorf("%w; fix the cause and run the same command again, or return to the previous settings with osm upgrade (helm get values %s -n %s --revision N shows them)", cause, t.Name, t.Namespace)
	}
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	c.Env.Progressf("rolling mesh [%s] back to its previous state (--atomic)\n", t.Name)
	if err := engine.Rollback(ctx, t.Name, c.observer()); err != nil {
		return fmt.Errorf("%w; and rolling back failed: %w", cause, err)
	}
	return fmt.Errorf("%w; the mesh was rolled back to its previous state (--atomic)", cause)
}

// observer prints each change of a workload.
func (c *Change) observer() release.Observer {
	progress := output.NewProgress(c.Env.Err, c.Env.Now)
	return func(component release.Component) {
		progress.Change(component.Kind, component.Name, component.Ready, component.Desired, component.Done)
	}
}

// diagnose prints why the control plane is not ready. It must run before a rollback, which would
// remove the evidence.
func (c *Change) diagnose(ctx context.Context, clients *cluster.Clients, namespace string) {
	ctx, cancel := command.Cleanup(ctx)
	defer cancel()
	found, err := cluster.Diagnose(ctx, clients.Kube, namespace)
	if err != nil {
		c.Env.Warnf("cannot diagnose the failure: %v", err)
		return
	}
	for _, diagnosis := range found {
		c.Env.Progressf("\n%s is not ready: %s\n", diagnosis.Object, diagnosis.Reason)
		if diagnosis.Hint != "" {
			c.Env.Progressf("  hint: %s\n", diagnosis.Hint)
		}
		for _, event := range diagnosis.Events {
			c.Env.Progressf("  event: %s\n", event)
		}
		for _, line := range diagnosis.Logs {
			c.Env.Progressf("  log: %s\n", line)
		}
	}
}
