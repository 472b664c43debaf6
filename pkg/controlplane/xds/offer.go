package xds

import (
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// resourceType is a type of resource on a stream, in push order: what is referred to goes before
// what refers to it.
type resourceType int

const (
	clusters resourceType = iota
	endpoints
	secrets
	listeners
	routes
	numTypes
)

var typeURLs = [numTypes]string{
	clusters:  envoy.TypeCluster,
	endpoints: envoy.TypeEndpoint,
	secrets:   envoy.TypeSecret,
	listeners: envoy.TypeListener,
	routes:    envoy.TypeRoute,
}

var kinds = map[resourceType]envoy.Kind{
	clusters:  envoy.Clusters,
	endpoints: envoy.Endpoints,
	listeners: envoy.Listeners,
	routes:    envoy.Routes,
}

// typeOf returns the type of a URL; ok is false for types that osm does not serve.
func typeOf(url string) (t resourceType, ok bool) {
	for t, known := range typeURLs {
		if known == url {
			return resourceType(t), true
		}
	}
	return 0, false
}

// name is the type's short name, for metrics and logs.
func (t resourceType) name() string {
	return [numTypes]string{"cds", "eds", "sds", "lds", "rds"}[t]
}

// mayBeWildcard says whether a first request without names asks for everything (CDS and LDS only).
func (t resourceType) mayBeWildcard() bool { return t == clusters || t == listeners }

// offer is all that a stream's proxy should have at the moment.
type offer struct {
	view    *envoy.View
	secrets []*envoy.Resource
}

// all returns the resources of a type, sorted by name.
func (o offer) all(t resourceType) []*envoy.Resource {
	if t == secrets {
		return o.secrets
	}
	return o.view.Set(kinds[t]).All()
}

// named returns the resource of that type and name, or nil.
func (o offer) named(t resourceType, name string) *envoy.Resource {
	if t != secrets {
		return o.view.Set(kinds[t]).Named(name)
	}
	for _, r := range o.secrets {
		if r.Name == name {
			return r
		}
	}
	return nil
}
