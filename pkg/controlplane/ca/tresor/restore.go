package tresor

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// Pauses of Restore. Whoever replaces the Secret by deleting and creating it must not be overtaken; and what
// refuses the Secret, such as a quota, may be removed.
const (
	restoreMin   = 5 * time.Second
	restoreMax   = 10 * time.Second
	restoreRetry = 30 * time.Second
)

// Restore creates the Secret of a loaded root again after it was deleted. It never changes a Secret that
// exists. Any replica may do it, because all have the same root. It returns when the Secret exists or ctx ends.
func (s Store) Restore(ctx context.Context, loaded *ca.Root) {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	pause, last := restoreMin+rand.N(restoreMax-restoreMin), "" //nolint:gosec // jitter is no secret
	for pauseFor(ctx, pause) {
		secret, err := createOrGetOnce(ctx, s.Client.CoreV1().Secrets(s.Namespace), s.secret(loaded))
		if err == nil {
			if root, err := ca.ParseRoot(secret.Data, s.now()); err == nil && root.Fingerprint() == loaded.Fingerprint() {
				log.Warn("the Secret of the root CA was deleted, and exists again", "secret", s.object(), "fingerprint", loaded.Fingerprint())
			}
			return // Watch reports what else it holds
		}
		if text := err.Error(); ctx.Err() == nil && text != last {
			last = text
			log.Error("the Secret of the root CA was deleted and cannot be put back, will retry", "secret", s.object(), "error", err)
		}
		pause = restoreRetry
	}
}
