package envoy

import (
	"fmt"
	"runtime"
	"testing"
	"weak"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

func setOf(t *testing.T, contents map[string]string) *Set {
	t.Helper()
	var resources []*Resource
	for name, content := range contents {
		r, err := NewResource(name, wrapperspb.String(content))
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, r)
	}
	return NewSet(resources)
}

func TestSetSince(t *testing.T) {
	before := setOf(t, map[string]string{"a": "1", "b": "1", "d": "1"})
	after := setOf(t, map[string]string{"a": "1", "b": "2", "c": "1"})
	diff := after.Since(before)
	if got := names(diff.Changed); got != "[b c]" || fmt.Sprint(diff.Removed) != "[d]" {
		t.Errorf("changed %s, removed %v; want [b c], [d]", got, diff.Removed)
	}
	if after.Since(before) != diff {
		t.Error("two streams with the same past get two Diffs")
	}
	if got := names(after.Since(nil).Changed); got != "[a b c]" {
		t.Errorf("from nothing: %s", got)
	}
	if !after.Since(after).Empty() {
		t.Error("a Set differs from itself")
	}
	if want := string(after.Named("b").Delta()) + string(after.Named("c").Delta()); string(diff.Delta()) != want {
		t.Error("the encoded Diff is not its resources in a row")
	}
}

func names(resources []*Resource) string {
	var list []string
	for _, r := range resources {
		list = append(list, r.Name)
	}
	return fmt.Sprint(list)
}

// A Set that no stream holds any more is garbage, though newer ones were compared with it.
func TestSetDoesNotKeepItsPast(t *testing.T) {
	now := setOf(t, map[string]string{"a": "0"})
	first := weak.Make(now)
	for i := range 5 {
		newer := setOf(t, map[string]string{"a": fmt.Sprint(i + 1)})
		newer.Since(now)
		now = newer
	}
	runtime.GC()
	if first.Value() != nil {
		t.Error("the first Set is kept by the last one")
	}
	runtime.KeepAlive(now)
}
