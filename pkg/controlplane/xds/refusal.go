package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// answer is what a proxy said about a response: that it took it, or why it did not.
type answer struct {
	typ      envoy.Kind
	accepted bool
	changed  bool     // it asks for something else besides
	what     sent     // what it accepted
	refusal  *refusal // nil unless it refused
}

// refusal is a response that a proxy did not take. The protocol has one error for all resources of
// a response, so that every one of them counts as refused. They are not sent again until they
// change: the stream's Sets say that the proxy was offered them.
type refusal struct {
	resources []*envoy.Resource // shared with other streams: not to be changed
	removed   []string
	message   string
	at        time.Time
	count     int // how many responses in a row were refused
}

// names lists what was refused.
func (r *refusal) names() []string {
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

// carries says whether a resource of that name was in it.
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

// refusals is what one proxy refuses of one type at the moment: nearly always nothing.
type refusals []*refusal

// refused records a response that was not taken, as far as the proxy still wants it. What it carried
// is no longer refused in an older version.
func (rs *refusals) refused(what sent, message string, now time.Time, wanted func(name string) bool) *refusal {
	resources := without(what.resources(), func(name string) bool { return !wanted(name) })
	newest := &refusal{resources: resources, removed: what.removed, message: strings.Clone(short(message, messageLimit)), at: now, count: 1}
	newest.count += rs.forget(what.resources(), what.removed)
	*rs = append(*rs, newest)
	return newest
}

// accepted forgets what was refused in an older version.
func (rs *refusals) accepted(what sent) {
	if len(*rs) > 0 {
		rs.forget(what.resources(), what.removed)
	}
}

// dropped forgets what the proxy does not want any more.
func (rs *refusals) dropped(wanted func(name string) bool) {
	for _, r := range *rs {
		r.resources = without(r.resources, func(name string) bool { return !wanted(name) })
	}
	rs.sweep()
}

// forget takes resources out of the memory, and returns the highest count of what it touched.
func (rs *refusals) forget(resources []*envoy.Resource, removed []string) int {
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
	rs.sweep()
	return count
}

// sweep drops refusals of nothing. One of removals only stays until the next answer.
func (rs *refusals) sweep() {
	*rs = slices.DeleteFunc(*rs, func(r *refusal) bool { return len(r.resources) == 0 })
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

// size is the number of resources refused.
func (rs *refusals) size() int {
	n := 0
	for _, r := range *rs {
		n += len(r.resources)
	}
	return n
}
