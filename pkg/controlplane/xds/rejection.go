package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// ack is what a proxy said about a response: that it accepted it (ACK), or why not (NACK). The zero ack
// is a request that answers nothing.
type ack struct {
	typ       envoy.Kind
	accepted  bool
	changed   bool       // the request also changes the subscription
	carried   sent       // what it accepted
	rejection *rejection // nil unless it rejected the response
}

// rejection is a response that a proxy rejected. The protocol has one error for all resources of a
// response, so each of them counts as rejected. They are not sent again until they change: the stream's
// Sets say that the proxy was offered them.
type rejection struct {
	resources []*envoy.Resource // shared with other streams: not to be changed
	removed   []string
	message   string
	at        time.Time
	count     int // how many responses in a row were rejected
}

// names lists what was rejected.
func (r *rejection) names() []string {
	names := make([]string, 0, len(r.resources)+len(r.removed))
	for _, resource := range r.resources {
		names = append(names, resource.Name)
	}
	return append(names, r.removed...)
}

// sent is what a response that is not answered yet carried: the slices of the Diffs it was made of.
type sent struct {
	parts   [2][]*envoy.Resource
	removed []string
}

// carries reports whether a resource of that name was in it.
func (s sent) carries(name string) bool {
	for _, part := range s.parts {
		if slices.ContainsFunc(part, func(r *envoy.Resource) bool { return r.Name == name }) {
			return true
		}
	}
	return false
}

func (s sent) resources() []*envoy.Resource {
	switch {
	case len(s.parts[1]) == 0:
		return s.parts[0]
	case len(s.parts[0]) == 0:
		return s.parts[1]
	}
	all := slices.Concat(s.parts[0], s.parts[1])
	slices.SortFunc(all, func(a, b *envoy.Resource) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// rejections is what one proxy currently rejects of one type: nearly always nothing.
type rejections []*rejection

// reject records a rejected response, as far as the proxy still wants it. It replaces older rejections of
// the same resources.
func (rs *rejections) reject(what sent, message string, now time.Time, wanted func(name string) bool) *rejection {
	resources := without(what.resources(), func(name string) bool { return !wanted(name) })
	newest := &rejection{resources: resources, removed: what.removed, message: strings.Clone(truncate(message, messageLimit)), at: now, count: 1}
	newest.count += rs.forget(what.resources(), what.removed)
	*rs = append(*rs, newest)
	return newest
}

// accept forgets older rejections of what was accepted.
func (rs *rejections) accept(what sent) {
	if len(*rs) > 0 {
		rs.forget(what.resources(), what.removed)
	}
}

// drop forgets what the proxy no longer wants.
func (rs *rejections) drop(wanted func(name string) bool) {
	for _, r := range *rs {
		r.resources = without(r.resources, func(name string) bool { return !wanted(name) })
	}
	rs.tidy()
}

// forget removes resources from all rejections, and returns the highest count of those it touched.
func (rs *rejections) forget(resources []*envoy.Resource, removed []string) int {
	count := 0
	for _, r := range *rs {
		left := without(r.resources, func(name string) bool {
			_, found := slices.BinarySearchFunc(resources, name, func(r *envoy.Resource, name string) int { return strings.Compare(r.Name, name) })
			return found || slices.Contains(removed, name)
		})
		if len(left) < len(r.resources) {
			count = max(count, r.count)
		}
		r.resources = left
	}
	rs.tidy()
	return count
}

// tidy drops empty rejections. One that holds only removals stays until the next answer.
func (rs *rejections) tidy() {
	*rs = slices.DeleteFunc(*rs, func(r *rejection) bool { return len(r.resources) == 0 })
	if len(*rs) == 0 {
		*rs = nil
	}
}

// without returns the resources whose names are not out; the same slice when that is all of them.
func without(resources []*envoy.Resource, out func(name string) bool) []*envoy.Resource {
	if !slices.ContainsFunc(resources, func(r *envoy.Resource) bool { return out(r.Name) }) {
		return resources
	}
	var left []*envoy.Resource
	for _, r := range resources {
		if !out(r.Name) {
			left = append(left, r)
		}
	}
	return left
}

// size is the number of rejected resources.
func (rs *rejections) size() int {
	n := 0
	for _, r := range *rs {
		n += len(r.resources)
	}
	return n
}
