package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// rootManager manages the roots of the mesh on one replica: those that the mesh wants, those that are
// loaded, and the set in use.
type rootManager struct {
	cfg     Config
	build   builder
	changed wake.Signal // the roots may have to be compared again

	mu      sync.Mutex
	wanted  []wantedRoot
	managed map[rootKey]*managedRoot
	roots   *ca.RootSet // nil until the first set is complete
	signing rootKey
	applied []rotation.Loaded
}

// managedRoot is one root, loaded or being loaded. rootManager.mu guards the fields after source.
type managedRoot struct {
	rootManager *rootManager
	source      source.Source

	authority ca.Authority // nil until loaded
	busy      bool         // something loads or watches it
	waiting   string       // what loading waits for
	unready   string       // why the loaded root must not be used
	stop      context.CancelFunc
}

func newRootManager(cfg Config, build builder) *rootManager {
	return &rootManager{cfg: cfg, build: build, changed: wake.NewSignal(), managed: map[rootKey]*managedRoot{}}
}

// setWanted replaces the roots that the mesh wants.
func (k *rootManager) setWanted(wanted []wantedRoot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logRefused(wanted)
	k.wanted = wanted
	for i := range k.wanted {
		w := &k.wanted[i]
		if !w.used() || k.managed[w.key] != nil {
			continue
		}
		m := &managedRoot{rootManager: k}
		cfg := k.cfg
		cfg.Ready, cfg.expected = m, cfg.expectedOf(w.Root)
		var err error
		if m.source, err = k.build(cfg, w.spec); err != nil {
			w.Problem = err.Error()
			continue
		}
		m.waiting = "loading it from " + m.source.String()
		k.managed[w.key] = m
	}
}

// logRefused logs which objects are refused, once for each reason. k.mu is held.
func (k *rootManager) logRefused(wanted []wantedRoot) {
	for _, w := range wanted {
		logged := slices.ContainsFunc(k.wanted, func(before wantedRoot) bool { return before.Name == w.Name && before.Problem == w.Problem })
		if w.Problem != "" && w.Name != Installation && !logged {
			k.cfg.Log.Error("MeshRootCertificate refused", "object", k.cfg.Namespace+"/"+w.Name, "problem", w.Problem)
		}
	}
}

// Met is called by a source that signs with the loaded root.
func (m *managedRoot) Met() { m.Unmet("") }

// Unmet is called by a source that no longer signs with the loaded root.
func (m *managedRoot) Unmet(reason string) {
	m.rootManager.mu.Lock()
	defer m.rootManager.mu.Unlock()
	m.unready = reason
	if m.rootManager.roots != nil {
		m.rootManager.updateReadiness()
	}
}

// updateReadiness reports whether this replica may serve. k.mu is held.
func (k *rootManager) updateReadiness() {
	var reasons []string
	for _, m := range k.managed {
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

// load starts to load the roots that are neither loaded nor being loaded, by begin.
func (k *rootManager) load(ctx context.Context, begin func(func())) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.managed {
		if m.authority != nil || m.busy {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		m.busy, m.stop = true, stop
		begin(func() { m.load(ctx) })
	}
}

func (m *managedRoot) load(ctx context.Context) {
	k := m.rootManager
	authority, err := m.source.Load(ctx, func(reason string) {
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
	case !ended: // the next check retries
		m.waiting = err.Error()
		k.cfg.Log.Error("root CA not loaded, will retry", "root", m.source.String(), "error", err)
	}
}

// missing returns what this replica must not serve without, and an error that waiting does not fix.
func (k *rootManager) missing() (reasons []string, failed error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	active := false
	for _, w := range k.wanted {
		active = active || w.Role == rotation.Active
		m := k.managed[w.key]
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

// apply uses the wanted roots that are loaded. A signer stays until a loaded root replaces it.
func (k *rootManager) apply() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	roots := make([]rotation.Root, len(k.wanted))
	for i, w := range k.wanted {
		roots[i] = w.Root
	}
	signing := k.signing
	if signer, ok := rotation.Signer(roots); ok {
		if next := k.sourceNamed(signer.Name); k.loaded(next) {
			signing = next
		}
	}
	if !k.loaded(signing) {
		return errors.New("no root CA that signs is loaded")
	}
	var passive []ca.Truster
	var applied []rotation.Loaded
	for _, root := range rotation.Trusted(roots) {
		from := k.sourceNamed(root.Name)
		if !k.loaded(from) {
			continue
		}
		authority := k.managed[from].authority
		applied = append(applied, rotation.Loaded{Name: root.Name, Role: root.Role, Fingerprint: authority.Trust().Fingerprint})
		if from != signing {
			passive = append(passive, authority)
		}
	}
	if err := k.set(k.managed[signing].authority, passive); err != nil {
		return err
	}
	if signing != k.signing {
		k.cfg.Log.Info("root CA now signs", "root", k.managed[signing].source.String(), "fingerprint", k.managed[signing].authority.Trust().Fingerprint)
	}
	k.signing, k.applied = signing, applied
	k.retire()
	k.updateReadiness()
	return nil
}

func (k *rootManager) set(signer ca.Authority, passive []ca.Truster) error {
	if k.roots != nil {
		return k.roots.Set(signer, passive...)
	}
	var err error
	k.roots, err = ca.NewRootSet(k.cfg.Metrics, signer, passive...)
	return err
}

// retire stops the roots that are no longer used. k.mu is held.
func (k *rootManager) retire() {
	for from, m := range k.managed {
		if from == k.signing || slices.ContainsFunc(k.wanted, func(w wantedRoot) bool { return w.used() && w.key == from }) {
			continue
		}
		if m.stop != nil {
			m.stop()
		}
		delete(k.managed, from)
	}
}

func (k *rootManager) loaded(from rootKey) bool {
	m := k.managed[from]
	return m != nil && m.authority != nil
}

func (k *rootManager) sourceNamed(name string) rootKey {
	i := slices.IndexFunc(k.wanted, func(w wantedRoot) bool { return w.Name == name })
	return k.wanted[i].key
}
