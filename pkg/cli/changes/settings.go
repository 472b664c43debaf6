package changes

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/osm-edge/osm/pkg/cli/release"
)

// Setting is a chart value that differs between two states, or that only one of them sets instead of leaving it to the
// chart's default.
type Setting struct {
	Key        string `json:"key"`           // dotted, as in --set
	Old        any    `json:"old,omitempty"` // absent if there is none
	New        any    `json:"new,omitempty"`
	OldDefault bool   `json:"oldDefault,omitempty"` // the value is the chart's, not the user's
	NewDefault bool   `json:"newDefault,omitempty"`
}

// nameKey is the mesh's name, which an upgrade always sets and never changes.
const nameKey = "osm.meshName"

func (c *Changes) compareSettings(before, after State) error {
	old, err := effective(before)
	if err != nil {
		return err
	}
	now, err := effective(after)
	if err != nil {
		return err
	}
	keys := map[string]bool{}
	for key := range old {
		keys[key] = true
	}
	for key := range now {
		keys[key] = true
	}
	conceal := newConcealer()
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, will := old[key], now[key]
		if reflect.DeepEqual(was, will) || (key == nameKey && reflect.DeepEqual(was.value, will.value)) {
			continue
		}
		name := key[strings.LastIndex(key, ".")+1:]
		c.Settings = append(c.Settings, Setting{
			Key: key, Old: conceal.value(name, was.value), New: conceal.value(name, will.value), OldDefault: was.isDefault, NewDefault: will.isDefault,
		})
	}
	return nil
}

type leaf struct {
	value     any
	isDefault bool
}

// effective returns the values that a state's templates see, by key.
func effective(state State) (map[string]leaf, error) {
	all, err := state.Chart.Effective(state.User)
	if err != nil {
		return nil, err
	}
	leaves, set := map[string]leaf{}, map[string]bool{}
	if err := walk(state.User, func(key string, _ any) { set[key] = true }); err != nil {
		return nil, err
	}
	err = walk(all, func(key string, value any) {
		if value != nil {
			leaves[key] = leaf{value, !set[key]}
		}
	})
	return leaves, err
}

// walk visits everything in values that is not a table with entries, after a round trip through JSON: a number has one
// type then, wherever it comes from.
func walk(values release.Values, visit func(key string, value any)) error {
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		return err
	}
	walkTable("", root, visit)
	return nil
}

func walkTable(prefix string, table map[string]any, visit func(key string, value any)) {
	for key, value := range table {
		key = prefix + strings.ReplaceAll(key, ".", `\.`)
		if child, ok := value.(map[string]any); ok && len(child) > 0 {
			walkTable(key+".", child, visit)
			continue
		}
		visit(key, value)
	}
}
