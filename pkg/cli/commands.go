package cli

import (
	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/install"
	"github.com/osm-edge/osm/pkg/cli/mesh"
	"github.com/osm-edge/osm/pkg/cli/namespace"
	"github.com/osm-edge/osm/pkg/cli/proxy"
	"github.com/osm-edge/osm/pkg/cli/rotate"
	"github.com/osm-edge/osm/pkg/cli/uninstall"
	"github.com/osm-edge/osm/pkg/cli/upgrade"
	"github.com/osm-edge/osm/pkg/cli/verify"
	"github.com/osm-edge/osm/pkg/cli/version"
)

// commands are all commands. A new one is a package, or a constructor in one, and a line here.
func commands(env *command.Env) []*cobra.Command {
	return []*cobra.Command{
		install.New(env),
		upgrade.New(env),
		aliased(command.Group("uninstall", "Uninstall a mesh",
			uninstall.NewMesh(env),
		), "delete", "del"),
		command.Group("mesh", "Manage the meshes of a cluster",
			mesh.NewList(env),
			mesh.NewScale(env),
			mesh.NewRebalance(env),
			upgrade.New(env),
			rotate.New(env),
		),
		aliased(command.Group("namespace", "Manage the namespaces of a mesh",
			namespace.NewAdd(env),
			namespace.NewRemove(env),
			namespace.NewIgnore(env),
			namespace.NewList(env),
		), "ns"),
		command.Group("proxy", "Inspect the proxies of a mesh",
			proxy.NewStatus(env),
			proxy.NewGetConfig(env),
			proxy.NewGet(env),
		),
		command.Group("verify", "Verify that a mesh works as intended",
			verify.NewHA(env),
		),
		version.New(env),
	}
}

func aliased(cmd *cobra.Command, names ...string) *cobra.Command {
	cmd.Aliases = names
	return cmd
}
