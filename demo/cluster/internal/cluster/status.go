package cluster

import (
	"context"

	"github.com/osm-edge/osm/demo/cluster/internal/kubeapi"
	"github.com/osm-edge/osm/demo/cluster/internal/network"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/proc"
	"github.com/osm-edge/osm/demo/cluster/internal/render"
)

// Report is what `status` shows. Field names are part of the command's JSON output.
type Report struct {
	Name       string `json:"name"`
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	// Healthy is true if every daemon runs, every node is plugged and ready, and DNS and metrics respond.
	Healthy bool `json:"healthy"`
	// API is empty, or why the API server does not respond.
	API string `json:"api,omitempty"`
	// DNS and Metrics are empty, or why they do not respond.
	DNS          string         `json:"dns,omitempty"`
	Metrics      string         `json:"metrics,omitempty"`
	ControlPlane []DaemonReport `json:"controlPlane"`
	Nodes        []NodeReport   `json:"nodes"`
}

// DaemonReport is the state of one daemon; PID is 0 if it does not run.
type DaemonReport struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// NodeReport is the state of one node.
type NodeReport struct {
	Name          string         `json:"name"`
	Address       string         `json:"address"`
	PodCIDR       string         `json:"podCIDR"`
	Plugged       bool           `json:"plugged"`
	Ready         bool           `json:"ready"`
	Unschedulable bool           `json:"unschedulable"`
	Daemons       []DaemonReport `json:"daemons"`
}

// Inspect reports on the cluster that state describes, without its lock and without changing anything.
func Inspect(ctx context.Context, site Site, state State) (Report, error) {
	c := &Cluster{State: state, dir: site.ClusterDir()}
	c.layout = render.Layout{Plan: state.Plan, Dir: c.dir, Programs: state.Programs, CNIBin: state.CNIBin}
	var err error
	if c.daemons, err = proc.NewRegistry(c.dir, "", proc.Table{Root: "/proc"}); err != nil {
		return Report{}, err
	}
	r := Report{Name: state.Plan.Name, Kubeconfig: site.Kubeconfig(), Server: state.Plan.APIURL(), Healthy: true}
	nodes := c.askAPI(ctx, &r)
	r.DNS = reason(c.resolve(ctx))
	r.ControlPlane = c.reportDaemons(c.layout.MasterDaemons(), &r)
	for _, node := range state.Plan.NodeList() {
		r.Nodes = append(r.Nodes, c.reportNode(node, nodes, &r))
	}
	r.Healthy = r.Healthy && r.API == "" && r.DNS == "" && r.Metrics == ""
	return r, nil
}

func (c *Cluster) askAPI(ctx context.Context, r *Report) []kubeapi.Node {
	api, err := c.API()
	if err != nil {
		r.API, r.Metrics = err.Error(), err.Error()
		return nil
	}
	nodes, err := api.Nodes(ctx)
	r.API, r.Metrics = reason(err), reason(api.APIAvailable(ctx, metricsAPI))
	return nodes
}

func (c *Cluster) reportNode(node plan.Machine, known []kubeapi.Node, r *Report) NodeReport {
	found, _ := findNode(known, node)
	report := NodeReport{
		Name: node.Name, Address: node.Addr.String(), PodCIDR: node.PodCIDR.String(), Plugged: network.Plugged(c.Plan, node),
		Ready: found.Ready, Unschedulable: found.Unschedulable, Daemons: c.reportDaemons(c.layout.NodeDaemons(node), r),
	}
	r.Healthy = r.Healthy && report.Plugged && report.Ready
	return report
}

func (c *Cluster) reportDaemons(daemons []render.Daemon, r *Report) []DaemonReport {
	reports := make([]DaemonReport, 0, len(daemons))
	for _, d := range daemons {
		id, running := c.daemons.Running(d.Name)
		if !running {
			id.PID, r.Healthy = 0, false
		}
		reports = append(reports, DaemonReport{Name: d.Name, PID: id.PID})
	}
	return reports
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
