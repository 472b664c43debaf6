package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// section is one part of Envoy's config dump.
type section struct {
	name    string   // as in --type
	message string   // end of its type URL
	lists   []string // fields that hold its resources
}

var sections = []section{
	{"bootstrap", ".BootstrapConfigDump", nil},
	{"listeners", ".ListenersConfigDump", []string{"static_listeners", "dynamic_listeners"}},
	{"routes", ".RoutesConfigDump", []string{"static_route_configs", "dynamic_route_configs"}},
	{"clusters", ".ClustersConfigDump", []string{"static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"}},
	{"endpoints", ".EndpointsConfigDump", []string{"static_endpoint_configs", "dynamic_endpoint_configs"}},
	{"secrets", ".SecretsConfigDump", []string{"static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"}},
}

func sectionNames() []string {
	names := []string{"all"}
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

// NewGetConfig returns osm proxy get-config.
func NewGetConfig(env *command.Env) *cobra.Command {
	o := &options{env: env}
	kind, format := "all", output.Table
	cmd := &cobra.Command{
		Use:   "get-config [POD]",
		Short: "Show the configuration of a pod's Envoy",
		Long: `Show the present configuration of a pod's Envoy: what the control plane sent and Envoy accepted, and
what Envoy rejected, with the reason. Private keys are never shown.

` + targetHelp,
		Example: `  osm proxy get-config bookbuyer-5c9f8f5b6-2x7lq -n bookbuyer
  osm proxy get-config deploy/bookbuyer -n bookbuyer --type routes -o yaml
  osm proxy get-config -l app=bookbuyer -n bookbuyer`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(sectionNames(), kind) {
				return command.Usagef(cmd, "--type: %q is not allowed; use one of %s", kind, strings.Join(sectionNames(), ", "))
			}
			target, err := o.target(cmd, args)
			if err != nil {
				return err
			}
			pod, err := o.choose(cmd.Context(), target)
			if err != nil {
				return err
			}
			return o.showConfig(cmd.Context(), pod, kind, format)
		},
	}
	o.addTargetFlags(cmd)
	cmd.Flags().StringVar(&kind, "type", "all", "part to show: "+strings.Join(sectionNames(), ", "))
	cmd.Flags().VarP(&format, "output", "o", "output format")
	return cmd
}

func (o *options) showConfig(ctx context.Context, pod *corev1.Pod, kind string, format output.Format) error {
	body, err := o.query(ctx, pod, "config_dump?include_eds")
	if err != nil {
		return err
	}
	var dump struct {
		Configs []map[string]any `json:"configs"`
	}
	if err := json.Unmarshal(body, &dump); err != nil {
		return fmt.Errorf("read the config dump of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	chosen := []any{}
	grid := output.Grid{Header: []string{"TYPE", "NAME", "DETAIL", "VERSION", "STATE"}}
	for _, config := range dump.Configs {
		s, known := sectionOf(config)
		if kind != "all" && (!known || s.name != kind) {
			continue
		}
		redact(config)
		chosen = append(chosen, config)
		grid.Rows = append(grid.Rows, s.rows(config)...)
	}
	var value any = map[string]any{"configs": chosen}
	if kind != "all" && len(chosen) == 1 {
		value = chosen[0]
	}
	return output.Write(o.env.Out, format, value, grid)
}

func sectionOf(config map[string]any) (section, bool) {
	typeURL := text(config, "@type")
	for _, s := range sections {
		if strings.HasSuffix(typeURL, s.message) {
			return s, true
		}
	}
	return section{}, false
}

// rows are the lines of a section in the table, sorted by name.
func (s section) rows(config map[string]any) [][]string {
	if s.name == "bootstrap" {
		bootstrap := table(config, "bootstrap")
		return [][]string{{s.name, text(table(bootstrap, "node"), "id"), "cluster " + text(table(bootstrap, "node"), "cluster"), "", ""}}
	}
	var rows [][]string
	for _, list := range s.lists {
		items, _ := config[list].([]any)
		for _, item := range items {
			if entry, ok := item.(map[string]any); ok {
				rows = append(rows, s.row(list, entry))
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[1], b[1]) })
	return rows
}

func (s section) row(list string, entry map[string]any) []string {
	state := "static"
	if strings.HasPrefix(list, "dynamic") {
		state = "active"
	}
	if strings.Contains(list, "warming") {
		state = "warming"
	}
	source := entry
	if active := table(entry, "active_state"); len(active) > 0 {
		source = active
	} else if warming := table(entry, "warming_state"); len(warming) > 0 {
		source, state = warming, "warming"
	}
	if refused := text(table(entry, "error_state"), "details"); refused != "" {
		state = "refused: " + refused
	}
	resource := s.resource(source)
	name := cmp.Or(text(resource, "name"), text(resource, "cluster_name"), text(entry, "name"))
	return []string{s.name, name, s.detail(resource), text(source, "version_info"), state}
}

// resource is the configuration inside an entry of the dump.
func (s section) resource(entry map[string]any) map[string]any {
	for _, field := range []string{"listener", "route_config", "cluster", "endpoint_config", "secret"} {
		if resource := table(entry, field); len(resource) > 0 {
			return resource
		}
	}
	return nil
}

func (s section) detail(resource map[string]any) string {
	switch s.name {
	case "listeners":
		address := table(table(resource, "address"), "socket_address")
		if len(address) == 0 {
			return ""
		}
		return fmt.Sprintf("%s:%v", text(address, "address"), address["port_value"])
	case "clusters":
		return cmp.Or(text(resource, "type"), text(table(resource, "cluster_type"), "name"))
	case "routes":
		hosts, _ := resource["virtual_hosts"].([]any)
		return fmt.Sprintf("%d virtual host(s)", len(hosts))
	case "endpoints":
		return endpointHealth(resource)
	case "secrets":
		if len(table(resource, "tls_certificate")) > 0 {
			return "certificate"
		}
		return "trust"
	}
	return ""
}

func endpointHealth(resource map[string]any) string {
	healthy, all := 0, 0
	localities, _ := resource["endpoints"].([]any)
	for _, locality := range localities {
		group, _ := locality.(map[string]any)
		endpoints, _ := group["lb_endpoints"].([]any)
		for _, endpoint := range endpoints {
			entry, _ := endpoint.(map[string]any)
			all++
			if status := text(entry, "health_status"); status == "" || status == "HEALTHY" || status == "UNKNOWN" {
				healthy++
			}
		}
	}
	return fmt.Sprintf("%d/%d healthy", healthy, all)
}

// redact blanks private keys. Envoy does so too, but a dump must be harmless even if Envoy does not.
func redact(node any) {
	switch n := node.(type) {
	case map[string]any:
		for _, field := range []string{"private_key", "password", "session_ticket_keys"} {
			if secret := table(n, field); len(secret) > 0 {
				for key := range maps.Clone(secret) {
					if strings.HasPrefix(key, "inline") {
						secret[key] = "[redacted]"
					}
				}
			}
		}
		for _, child := range n {
			redact(child)
		}
	case []any:
		for _, child := range n {
			redact(child)
		}
	}
}

func table(node map[string]any, field string) map[string]any {
	child, _ := node[field].(map[string]any)
	return child
}

func text(node map[string]any, field string) string {
	child, _ := node[field].(string)
	return child
}
