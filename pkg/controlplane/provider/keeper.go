package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// keeper holds the roots of the mesh: those that there are to be, those that are loaded, and the
// set of them that this replica acts on.
type keeper struct {
	cfg     Config
	build   func(Config) (source, error) // Config.source, but for tests
	changed wake.Signal                  // the roots may have to be compared again

	mu      sync.Mutex
	wishes  []wish
	members map[origin]*member
	roots   *ca.RootSet // nil until the first set is complete
	signing origin
	applied []rotation.Loaded
}

// member is one root, loaded or on its way. What follows source is guarded by keeper.mu.
type member struct {
	keeper *keeper
	source source

	authority ca.Authority // nil until loaded
	busy      bool         // something loads or watches it
	waiting   string       // what loading waits for
	unready   string       // why what was loaded is not to be used
	stop      context.CancelFunc
}

func newKeeper(cfg Config, build func(Config) (source, error)) *keeper {
	return &keeper{cfg: cfg, build: build, changed: wake.NewSignal(), members: map[origin]*member{}}
}

// wish replaces what there is to be.
func (k *keeper) wish(wishes []wish) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tellRefused(wishes)
	k.wishes = wishes
	for i := range k.wishes {
		w := &k.wishes[i]
		if !w.used() || k.members[w.origin] != nil {
			continue
		}
		m := &member{keeper: k}
		cfg := k.cfg
		cfg.Flags, cfg.CASecret, cfg.Ready = w.origin.flags, w.origin.caSecret, m
		var err error
		if m.source, err = k.build(cfg); err != nil {
			w.Problem = err.Error()
			continue
		}
		m.waiting = "loading it from " + m.source.String()
		k.members[w.origin] = m
	}
}

// tellRefused logs which objects are not acted on, once for each reason. k.mu is held.
func (k *keeper) tellRefused(wishes []wish) {
	for _, w := range wishes {
		told := slices.ContainsFunc(k.wishes, func(before wish) bool { return before.Name == w.Name && before.Problem == w.Problem })
		if w.Problem != "" && w.Name != Installation && !told {
			k.cfg.Log.Error("a MeshRootCertificate is refused", "object", k.cfg.Namespace+"/"+w.Name, "problem", w.Problem)
		}
	}
}

// Met and Unmet are told by a source whether it still signs with the root that was loaded.
func (m *member) Met() { m.Unmet("") }

// Unmet: see Met.
func (m *member) Unmet(reason string) {
	m.keeper.mu.Lock()
	defer m.keeper.mu.Unlock()
	m.unready = reason
	if m.keeper.roots != nil {
		m.keeper.judge()
	}
}

// judge says whether this replica is to be sent work. k.mu is held.
func (k *keeper) judge() {
	var reasons []string
	for _, m := range k.members {
		if m.authority != nil && m.unready != "" {
			reasons = append(reasons, m.unready)
		}
	}
	if len(reasons) == 0 {
		k.cfg.Ready.Met()
		return
	}
	slices.Sort(reasons)
	k.cfg.Ready.Unmet(strings.Join(reasons, "; "))
}

// load loads the roots that are not loaded yet and that nobody is loading; begun receives the work.
func (k *keeper) load(ctx context.Context, begin func(func())) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.members {
		if m.authority != nil || m.busy {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		m.busy, m.stop = true, stop
		begin(func() { m.load(ctx) })
	}
}

func (m *member) load(ctx context.Context) {
	k := m.keeper
	authority, err := m.source.load(ctx, func(reason string) {
		k.mu.Lock()
		m.waiting = reason
		k.mu.Unlock()
		k.changed.Wake()
	})
	ended := ctx.Err() != nil
	k.mu.Lock()
	defer k.mu.Unlock()
	m.busy = false
	m.stop()
	switch {
	case err == nil:
		m.authority, m.waiting = authority, ""
		k.changed.Wake()
	case !ended: // the next look tries again
		m.waiting = err.Error()
		k.cfg.Log.Error("a root CA cannot be loaded, will retry", "root", m.source.String(), "error", err)
	}
}

// missing says what this replica must not serve without, and what waiting will not fix.
func (k *keeper) missing() (reasons []string, failed error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	active := false
	for _, w := range k.wishes {
		active = active || w.Role == rotation.Active
		m := k.members[w.origin]
		switch {
		case w.Name == Installation && w.Problem != "":
			return nil, errors.New(w.Problem) // names the flag
		case w.needed() && w.Problem != "":
			reasons = append(reasons, fmt.Sprintf("MeshRootCertificate %s: %s", w.Name, w.Problem))
		case !w.needed() || m.authority != nil:
		default:
			reasons = append(reasons, m.waiting)
		}
	}
	if !active {
		reasons = append(reasons, "no MeshRootCertificate of namespace "+k.cfg.Namespace+" is active: nothing signs")
	}
	slices.Sort(reasons)
	return reasons, nil
}

// apply acts on the roots as far as they are loaded. A root is not given up before one that is
// loaded takes its place.
func (k *keeper) apply() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	roots := make([]rotation.Root, len(k.wishes))
	for i, w := range k.wishes {
		roots[i] = w.Root
	}
	signing := k.signing
	if signer, ok := rotation.Signer(roots); ok {
		if next := k.originNamed(signer.Name); k.loaded(next) {
			signing = next
		}
	}
	if !k.loaded(signing) {
		return errors.New("no root CA that signs is loaded")
	}
	var passive []ca.Truster
	var applied []rotation.Loaded
	for _, root := range rotation.Trusted(roots) {
		from := k.originNamed(root.Name)
		if !k.loaded(from) {
			continue
		}
		authority := k.members[from].authority
		applied = append(applied, rotation.Loaded{Name: root.Name, Role: root.Role, Fingerprint: authority.Trust().Fingerprint})
		if from != signing {
			passive = append(passive, authority)
		}
	}
	if err := k.set(k.members[signing].authority, passive); err != nil {
		return err
	}
	if signing != k.signing {
		k.cfg.Log.Info("this root CA signs from now on", "root", k.members[signing].source.String(), "fingerprint", k.members[signing].authority.Trust().Fingerprint)
	}
	k.signing, k.applied = signing, applied
	k.retire()
	k.judge()
	return nil
}

func (k *keeper) set(signer ca.Authority, passive []ca.Truster) error {
	if k.roots != nil {
		return k.roots.Set(signer, passive...)
	}
	var err error
	k.roots, err = ca.NewRootSet(k.cfg.Metrics, signer, passive...)
	return err
}

// retire ends what is not used any more. k.mu is held.
func (k *keeper) retire() {
	for from, m := range k.members {
		if from == k.signing || slices.ContainsFunc(k.wishes, func(w wish) bool { return w.used() && w.origin == from }) {
			continue
		}
		if m.stop != nil {
			m.stop()
		}
		delete(k.members, from)
	}
}

func (k *keeper) loaded(from origin) bool {
	m := k.members[from]
	return m != nil && m.authority != nil
}

func (k *keeper) originNamed(name string) origin {
	i := slices.IndexFunc(k.wishes, func(w wish) bool { return w.Name == name })
	return k.wishes[i].origin
}
