package cli

import "strings"

// replaced are the commands of Open Service Mesh and osm-edge that do not exist here, and what to use instead. A group
// stands for all of its commands that have no line of their own.
func replaced() map[string]string {
	const (
		rotate = "to replace the root certificate, use osm mesh rotate-root"
		policy = "this mesh has no SMI or IngressBackend policies (README.md); osm proxy get-config POD shows where a pod's proxy may connect to"
		look   = "use osm verify ha for the control plane, osm proxy status for the proxies, osm proxy get-config POD for one of them, and docs/troubleshooting.md for symptoms"
	)
	return map[string]string{
		"alpha":                       rotate,
		"alpha certificate rotate":    rotate,
		"dashboard":                   "no Grafana is installed with the mesh; the metrics for yours are in docs/troubleshooting.md",
		"env":                         "osm reads no configuration file; --kubeconfig and --context choose the cluster, --osm-namespace the mesh",
		"metrics":                     "each sidecar serves /stats/prometheus on port 15010; annotate a namespace to announce it to Prometheus",
		"metrics enable":              "use kubectl annotate namespace NAMESPACE openservicemesh.io/metrics=enabled; pods announce their metrics once they are restarted",
		"metrics disable":             "use kubectl annotate namespace NAMESPACE openservicemesh.io/metrics-; pods announce their metrics until they are restarted",
		"policy":                      policy,
		"policy check-conflicts":      "this mesh has no IngressBackend, so none can conflict (README.md)",
		"policy check-pods":           policy,
		"proxy set":                   "a proxy's admin interface is read-only here; use osm proxy get QUERY POD to read",
		"support":                     look,
		"support bug-report":          look,
		"support error-info":          "errors are explained where they appear; docs/troubleshooting.md lists the problems that the controller reports",
		"verify connectivity":         "use osm proxy get-config POD for both pods; docs/troubleshooting.md lists symptoms and causes",
		"verify control-plane-health": "use osm verify ha, which asks every replica",
		"verify ingress":              "this mesh has no IngressBackend; docs/install.md says how to exclude a port from the mesh for an ingress controller",
	}
}

// replacedFlags are the flags of Open Service Mesh that do not exist here, by command and name. -f names a file of values
// in all commands that have it, so it neither forces nor writes.
func replacedFlags() map[string]string {
	const port = "a free local port is found; leave the flag out"
	flags := map[string]string{
		"osm uninstall mesh -f":                    "use --force; -f names a file of values, as in osm install",
		"osm proxy get -f":                         "use --file; -f names a file of values, as in osm install",
		"osm version version-only":                 "osm asks nobody for newer versions; leave the flag out",
		"osm uninstall mesh ca-bundle-secret-name": "the Secrets of the root are found by themselves; leave the flag out",
	}
	for _, cmd := range []string{"osm mesh list", "osm uninstall mesh", "osm proxy get"} {
		flags[cmd+" local-port"], flags[cmd+" -p"] = port, port
	}
	return flags
}

// replacement returns the longest part of a command line that is a command of Open Service Mesh, and what to use
// instead.
func replacement(words []string) (name, instead string) {
	table := replaced()
	for n := min(len(words), 3); n > 0; n-- {
		name = strings.Join(words[:n], " ")
		if instead = table[name]; instead != "" {
			return name, instead
		}
	}
	return "", ""
}
