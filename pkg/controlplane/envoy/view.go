package envoy

import "slices"

// Layer is a part of a configuration: one Set of each of Kinds. It never changes.
type Layer struct{ sets [NumKinds]*Set }

// NewLayer makes a Layer of resources by kind, of which it takes ownership.
func NewLayer(resources map[Kind][]*Resource) *Layer {
	l := &Layer{}
	for _, k := range Kinds() {
		l.sets[k] = NewSet(resources[k])
	}
	return l
}

// Set returns the resources of one of Kinds, never nil.
func (l *Layer) Set(k Kind) *Set { return l.sets[k] }

// View is the whole configuration of the proxies of one class: what all proxies share, and what
// only the class has. No name is in both. Two equal Views are the same configuration; the zero
// View is none.
type View struct{ Shared, Own *Layer }

// Sets returns the two Sets of a kind that the View is made of.
func (v View) Sets(k Kind) [2]*Set { return [2]*Set{v.Shared.Set(k), v.Own.Set(k)} }

// All returns the resources of a kind of both parts, sorted by name.
func (v View) All(k Kind) []*Resource {
	sets := v.Sets(k)
	all := slices.Concat(sets[0].All(), sets[1].All())
	slices.SortFunc(all, byName)
	return all
}
