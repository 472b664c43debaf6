package tresor

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// restoreDelay is the maximum pause before a deleted Secret is created again, and restoreMin the minimum:
// whoever replaces the Secret by deleting and creating it must not be overtaken.
const (
	restoreMin   = 5 * time.Second
	restoreDelay = 10 * time.Second
)

// Restore creates the Secret of a loaded root again after it was deleted. It never changes a Secret that
// exists. Any replica may do it, because all have the same root. It returns when the Secret exists, or ctx
// ends, or the API server refuses it, which is logged.
func (s Store) Restore(ctx context.Context, loaded *ca.Root) {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if !pauseFor(ctx, restoreMin+rand.N(restoreDelay-restoreMin)) { //nolint:gosec // jitter is no secret
		return
	}
	_, err := CreateOrGet(ctx, s.Client.CoreV1().Secrets(s.Namespace), s.secret(loaded), s.Log)
	switch {
	case err == nil:
		log.Warn("the Secret of the root CA was deleted, and exists again", "secret", s.object(), "fingerprint", loaded.Fingerprint())
	case ctx.Err() == nil:
		log.Error("the Secret of the root CA was deleted and cannot be put back: restore it from a backup", "secret", s.object(), "error", err)
	}
}
