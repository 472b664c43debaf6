package xds

import (
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"weak"
)

const wildcardName = "*"

// nameList is a subscription: sorted, distinct names. It never changes, and equal lists are the same
// pointer: a thousand proxies that ask for the same thousand names share one. Nil is empty.
type nameList struct {
	sorted []string
	size   int // the memory that it takes, in bytes
}

// stringSize is the size of a string's header; the allocator rounds its bytes up to a multiple of that, too.
const stringSize = 16

func (l *nameList) has(name string) bool {
	if l == nil {
		return false
	}
	_, found := slices.BinarySearch(l.sorted, name)
	return found
}

func (l *nameList) all() []string {
	if l == nil {
		return nil
	}
	return l.sorted
}

func (l *nameList) bytes() int {
	if l == nil {
		return 0
	}
	return l.size
}

// nameLists finds the existing list of some names. It keeps a list only as long as some stream does.
type nameLists struct {
	seed maphash.Seed

	mu    sync.Mutex
	known map[uint64][]weak.Pointer[nameList]
}

func newNameLists() *nameLists {
	return &nameLists{seed: maphash.MakeSeed(), known: map[uint64][]weak.Pointer[nameList]{}}
}

// of returns the list of the names, of which it takes ownership. The wildcard is no name.
func (t *nameLists) of(names []string) *nameList {
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == wildcardName })
	if len(names) == 0 {
		return nil
	}
	var sum uint64
	for _, name := range names {
		sum = sum*31 + maphash.String(t.seed, name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, pointer := range t.known[sum] {
		if l := pointer.Value(); l != nil && slices.Equal(l.sorted, names) {
			return l
		}
	}
	l := &nameList{sorted: slices.Clone(names)}
	for _, name := range names {
		l.size += stringSize + (len(name)+stringSize-1)/stringSize*stringSize
	}
	t.known[sum] = append(t.known[sum], weak.Make(l))
	runtime.AddCleanup(l, t.forget, sum)
	return l
}

// forget drops unused lists with this sum.
func (t *nameLists) forget(sum uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(t.known[sum], func(p weak.Pointer[nameList]) bool { return p.Value() == nil })
	if len(left) == 0 {
		delete(t.known, sum)
		return
	}
	t.known[sum] = left
}

// change returns the list with and without some names.
func (t *nameLists) change(l *nameList, add, remove []string) *nameList {
	if len(add) == 0 && len(remove) == 0 {
		return l
	}
	names := slices.Concat(l.all(), add)
	if len(remove) > 0 {
		gone := make(map[string]bool, len(remove))
		for _, name := range remove {
			gone[name] = true
		}
		names = slices.DeleteFunc(names, func(name string) bool { return gone[name] })
	}
	return t.of(names)
}

// len is the number of lists in use, as far as the garbage collector knows.
func (t *nameLists) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.known)
}
