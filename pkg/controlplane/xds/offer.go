package xds

import (
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// mayBeWildcard reports whether a first request without names asks for everything (CDS and LDS only).
func mayBeWildcard(k envoy.Kind) bool { return k == envoy.Clusters || k == envoy.Listeners }

// layers are the two Sets that hold the resources of a kind: those that proxies share, and the proxy's own.
// No name is in both. A nil Set is empty.
type layers [2]*envoy.Set

// named returns the resource of that name, or nil.
func (l layers) named(name string) *envoy.Resource {
	for _, set := range l {
		if set == nil {
			continue
		}
		if r := set.Named(name); r != nil {
			return r
		}
	}
	return nil
}

// missing returns those of the sorted names that are not in the layers.
func (l layers) missing(sorted []string) []string {
	var missing []string
	var rest [2][]*envoy.Resource
	for i, set := range l {
		if set != nil {
			rest[i] = set.All()
		}
	}
	for _, name := range sorted {
		found := false
		for i := range rest {
			for len(rest[i]) > 0 && rest[i][0].Name < name {
				rest[i] = rest[i][1:]
			}
			found = found || len(rest[i]) > 0 && rest[i][0].Name == name
		}
		if !found {
			missing = append(missing, name)
		}
	}
	return missing
}

// version is a digest of everything in the layers.
func (l layers) version() string {
	digest := ""
	for _, set := range l {
		if set != nil {
			digest += set.Version()[:16]
		}
	}
	return digest
}

// since returns what changed in each layer, nil for no change. A layer never becomes nil again while its
// kind is ready.
func (l layers) since(older layers) [2]*envoy.Diff {
	var diffs [2]*envoy.Diff
	for i, set := range l {
		if set != older[i] && set != nil {
			diffs[i] = set.Since(older[i])
		}
	}
	return diffs
}

// offer is everything that a stream's proxy should have now.
type offer struct {
	view envoy.View
	// trust is the secret that all proxies share; workload is the proxy's certificate, nil until
	// there is one.
	trust, workload *envoy.Set
}

func (o offer) layers(k envoy.Kind) layers {
	if k == envoy.Secrets {
		return layers{o.trust, o.workload}
	}
	return o.view.Sets(k)
}

// ready reports whether the kind can be offered. Secrets wait for the proxy's certificate: a response without
// it would mean that it does not exist.
func (o offer) ready(k envoy.Kind) bool { return k != envoy.Secrets || o.workload != nil }
