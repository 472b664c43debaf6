package envoy

// edits are changes of a Layer.
type edits struct {
	added [NumKinds][]*Resource
	gone  [NumKinds]map[string]bool
}

func (e *edits) add(k Kind, resources ...*Resource) { e.added[k] = append(e.added[k], resources...) }

func (e *edits) remove(k Kind, name string) {
	if e.gone[k] == nil {
		e.gone[k] = map[string]bool{}
	}
	e.gone[k][name] = true
}

// replace puts the parts of a Service in the place of its parts before; either may be nil.
func (e *edits) replace(was, is *serviceParts) {
	for _, k := range Kinds() {
		for _, r := range was.of(k) {
			e.remove(k, r.Name)
		}
		e.add(k, is.of(k)...)
	}
}

func (e *edits) empty() bool {
	for _, k := range Kinds() {
		if len(e.added[k])+len(e.gone[k]) > 0 {
			return false
		}
	}
	return true
}

// apply returns the Layer with the changes, or the Layer itself if they make no difference.
func (e *edits) apply(to *Layer) *Layer {
	changed := &Layer{}
	for _, k := range Kinds() {
		changed.sets[k] = to.sets[k].replace(e.gone[k], e.added[k])
	}
	if changed.sets == to.sets {
		return to
	}
	return changed
}
