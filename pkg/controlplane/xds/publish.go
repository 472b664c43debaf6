package xds

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// source is what proxies' configuration is looked up in; *envoy.Config is one.
type source interface {
	View(pod mesh.PodName) (envoy.View, *mesh.Workload)
}

// lookedUp is what a source says of a pod. Two equal ones need no look at the stream.
type lookedUp struct {
	view     envoy.View
	workload *mesh.Workload
}

func lookUp(from source, pod mesh.PodName) lookedUp {
	view, w := from.View(pod)
	return lookedUp{view, w}
}

// differs says whether a stream has to act on the newer one.
func (l lookedUp) differs(newer lookedUp) bool {
	if l.view != newer.view || (l.workload == nil) != (newer.workload == nil) {
		return true
	}
	return l.workload != newer.workload && l.workload.Identity != newer.workload.Identity
}

// waiter is a stream whose pod no configuration knows yet.
type waiter struct {
	pod   mesh.PodName
	known chan struct{}
}

// Publish makes config what all proxies should have, and gives a turn to those for whom that is
// something else. It never waits for any of them.
func (s *Server) Publish(config *envoy.Config) { s.publish(config) }

func (s *Server) publish(config source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Store(&config)
	s.pace.add(s.concerned(config)...)
	for w := range s.waiters {
		if lookUp(config, w.pod).workload != nil {
			close(w.known)
			delete(s.waiters, w)
		}
	}
}

// concerned are the streams for which config is something else than what they saw last. When what all
// proxies share has changed that is all of them, without a look.
func (s *Server) concerned(config source) []*stream {
	var shared *envoy.Layer
	concerned := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		seen := st.seen.Load()
		if shared == nil || seen.view.Shared == nil || seen.view.Shared == shared {
			now := lookUp(config, st.peer.pod)
			shared = cmp.Or(shared, now.view.Shared)
			if !seen.differs(now) {
				continue
			}
		}
		concerned = append(concerned, st)
	}
	return concerned
}

// look returns what the stream's proxy should have now. It asks again when there was a Publish
// meanwhile, which may have compared with what the stream saw before.
func (s *Server) look(st *stream) lookedUp {
	for {
		from := s.config.Load()
		now := lookUp(*from, st.peer.pod)
		st.seen.Store(&now)
		if s.config.Load() == from {
			return now
		}
	}
}

// source returns what was published last, nil before the first Publish.
func (s *Server) source() source {
	if config := s.config.Load(); config != nil {
		return *config
	}
	return nil
}

// awaitWorkload returns the pod's workload as soon as a published configuration knows it.
func (s *Server) awaitWorkload(ctx context.Context, who peer, pod mesh.PodName) (*mesh.Workload, error) {
	for {
		found, w := s.workloadOrWait(pod)
		if found != nil {
			return found, nil
		}
		select {
		case <-w.known:
		case <-ctx.Done():
			s.mu.Lock()
			delete(s.waiters, w)
			s.mu.Unlock()
			return nil, s.refuse(who, "unknown", codes.Unavailable, "pod %s is not known as part of the mesh: will be retried", pod)
		}
	}
}

// workloadOrWait returns the workload, or what tells when there is one.
func (s *Server) workloadOrWait(pod mesh.PodName) (*mesh.Workload, *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := lookUp(s.source(), pod).workload; found != nil {
		return found, nil
	}
	w := &waiter{pod, make(chan struct{})}
	s.waiters[w] = struct{}{}
	return nil, w
}

// Retrust reads Config.Trust again, and makes every proxy trust what it says. Certificates that
// proxies brought from earlier streams and that another root signed are replaced within a minute;
// those that were issued here are for leafcache.Cache to renew.
//
// A stream whose client certificate is of a CA that is no longer trusted is sent nothing from the moment
// at which Retrust returns, and ends soon.
func (s *Server) Retrust() error {
	out, err := s.retrustAll()
	if err != nil {
		return err
	}
	s.distrust(out)
	return nil
}

// retrustAll is Retrust for the streams that go on; it returns the others.
func (s *Server) retrustAll() (out []*stream, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	trust := s.cfg.Trust()
	if last := s.trust.Load(); last != nil && last.same(trust) {
		return nil, nil
	}
	now, err := newTrusted(trust)
	if err != nil {
		return nil, err
	}
	s.trust.Store(now)
	for st := range s.streams {
		if !now.anchors.Vouch(st.peer.chains, s.cfg.Now()) {
			out = append(out, st)
		}
	}
	s.pace.add(slices.Collect(maps.Keys(s.streams))...)
	return out, nil
}

// distrust ends streams whose client certificates are of a CA that is not trusted any more. That they are
// sent nothing is so at once; that they end is spread over some seconds, since after a rotation most proxies
// have opened their streams with a certificate of the old root, and would all come back in one moment.
func (s *Server) distrust(out []*stream) {
	if len(out) == 0 {
		return
	}
	s.cfg.Log.Warn("streams end because the CA of their client certificates is no longer trusted", "streams", len(out))
	apart := min(leaving, leavingAll/time.Duration(len(out)))
	for i, st := range out {
		st.freeze()
		time.AfterFunc(time.Duration(i)*apart, func() {
			st.end(&parted{"untrusted", codes.Unauthenticated, "the client certificate is of a CA that is no longer trusted: connect again"})
		})
	}
}

const (
	// leaving is the time between the ends of two streams that are not trusted any more, and leavingAll
	// that for all of them.
	leaving    = 5 * time.Millisecond
	leavingAll = 30 * time.Second
)

// Reissue replaces the certificates that proxies brought from earlier streams, spread over the
// given time; what leafcache.Cache.Reissue is for those that were issued here. It includes Retrust: which
// certificates are good from now on depends on who signs.
func (s *Server) Reissue(over time.Duration) {
	if err := s.Retrust(); err != nil {
		s.cfg.Log.Error("the trust bundle cannot be encoded, proxies keep the last one", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		st.hasten.Store(int64(max(over, 1)))
	}
	s.pace.add(slices.Collect(maps.Keys(s.streams))...)
}

// add adds a stream, in the place of the pod's oldest if it has too many.
func (s *Server) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.refuse(st.peer, "draining", codes.Unavailable, "this replica is going away: connect again")
	}
	displaced, ok := s.accounts.add(st, s.cfg.Now())
	if !ok {
		return s.blame(st.peer, "streams-per-pod", codes.ResourceExhausted, "pod %s has %d streams from its own address", st.peer.pod, s.cfg.Limits.StreamsPerPod)
	}
	if displaced != nil {
		displaced.end(&parted{"streams-per-pod", codes.ResourceExhausted, "a newer stream of the pod took the place of this one"})
	}
	s.streams[st] = struct{}{}
	s.cfg.Metrics.connected.Set(float64(len(s.streams)))
	return nil
}

// mayOpen says whether a pod may open another stream now.
func (s *Server) mayOpen(who peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	return s.accounts.pods.of(who.pod, now).opened.AllowN(now, 1)
}

func (s *Server) remove(st *stream) {
	s.cfg.Metrics.rejected.Sub(float64(st.rejected))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.accounts.remove(st)
	s.pace.leave(st)
	s.cfg.Metrics.connected.Set(float64(len(s.streams)))
}
