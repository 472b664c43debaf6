package xds

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// source is where the proxies' configuration is looked up; *envoy.Config implements it.
type source interface {
	View(pod mesh.PodName) (envoy.View, *mesh.Workload)
	// InForce reports whether some proxies share exactly this Layer.
	InForce(shared *envoy.Layer) bool
}

// assignment is what a source holds for a pod: its workload, and the view that its proxy gets.
type assignment struct {
	view     envoy.View
	workload *mesh.Workload
}

func lookUp(from source, pod mesh.PodName) assignment {
	view, w := from.View(pod)
	return assignment{view, w}
}

// differs reports whether a stream has to act on the newer assignment.
func (a assignment) differs(newer assignment) bool {
	if a.view != newer.view || (a.workload == nil) != (newer.workload == nil) {
		return true
	}
	return a.workload != newer.workload && a.workload.Identity != newer.workload.Identity
}

// waiter is a stream whose pod is not in any published configuration yet.
type waiter struct {
	pod   mesh.PodName
	known chan struct{}
}

// Publish makes config what all proxies should have, and gives a turn to those for which something
// changed. It never waits for a proxy.
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

// concerned returns the streams for which config differs from what they saw last. If what a
// group's proxies share has changed, these are all streams of the group, without comparing each.
func (s *Server) concerned(config source) []*stream {
	concerned := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		seen := st.seen.Load()
		if shared := seen.view.Shared; (shared == nil || config.InForce(shared)) && !seen.differs(lookUp(config, st.peer.pod)) {
			continue
		}
		concerned = append(concerned, st)
	}
	return concerned
}

// lookUp returns what the stream's proxy should have now. It retries if a Publish came in between, which
// may have compared its configuration with what the stream saw before.
func (st *stream) lookUp() assignment {
	for {
		from := st.server.config.Load()
		now := lookUp(*from, st.peer.pod)
		st.seen.Store(&now)
		if st.server.config.Load() == from {
			return now
		}
	}
}

// source returns the configuration that was published last, nil before the first Publish.
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

// workloadOrWait returns the workload, or a waiter whose channel closes when there may be one.
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

// Retrust reads Config.Trust again and sends the trust bundle to every proxy. Certificates that proxies
// brought from earlier streams and that another root signed are replaced within a minute; leafcache.Cache
// renews those that were issued here.
//
// Once Retrust has returned, a stream whose client certificate is of a CA that is no longer trusted is sent
// nothing more, and it ends soon.
func (s *Server) Retrust() error {
	out, err := s.publishTrust()
	if err != nil {
		return err
	}
	s.endUntrusted(out)
	return nil
}

// publishTrust gives every stream a turn with the trust in force, and returns those that are no longer
// trusted.
func (s *Server) publishTrust() (out []*stream, err error) {
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

// endUntrusted ends streams whose client certificates are of a CA that is no longer trusted. Nothing more is
// sent on them from now on, but their ends are spread over time: after a rotation most proxies have opened
// their streams with a certificate of the old root, and all would connect again at the same moment.
func (s *Server) endUntrusted(out []*stream) {
	if len(out) == 0 {
		return
	}
	s.cfg.Log.Warn("ending streams: the CA of their client certificates is no longer trusted", "streams", len(out))
	apart := min(minEndInterval, maxEndSpread/time.Duration(len(out)))
	for i, st := range out {
		st.freeze()
		time.AfterFunc(time.Duration(i)*apart, func() {
			st.end(&termination{"untrusted", codes.Unauthenticated, "the client certificate is of a CA that is no longer trusted: connect again"})
		})
	}
}

const (
	// Untrusted streams end minEndInterval apart, or faster if that would take longer than maxEndSpread.
	minEndInterval = 5 * time.Millisecond
	maxEndSpread   = 30 * time.Second
)

// Reissue replaces the certificates that proxies brought from earlier streams, spread over the given
// time, as leafcache.Cache.Reissue does with those that were issued here. It includes Retrust: which
// certificates are good depends on the signer.
func (s *Server) Reissue(over time.Duration) {
	if err := s.Retrust(); err != nil {
		s.cfg.Log.Error("cannot encode the trust bundle, proxies keep the last one", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		st.reissueWithin.Store(int64(max(over, 1)))
	}
	s.pace.add(slices.Collect(maps.Keys(s.streams))...)
}

// add adds a stream. It replaces the pod's oldest if the pod has too many.
func (s *Server) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return s.refuse(st.peer, "draining", codes.Unavailable, "this replica is going away: connect again")
	}
	displaced, ok := s.accounts.add(st, s.cfg.Now())
	if !ok {
		return s.refuseOffender(st.peer, "streams-per-pod", codes.ResourceExhausted, "pod %s has %d streams from its own address", st.peer.pod, s.cfg.Limits.StreamsPerPod)
	}
	if displaced != nil {
		displaced.end(&termination{"streams-per-pod", codes.ResourceExhausted, "a newer stream of the pod took the place of this one"})
	}
	s.streams[st] = struct{}{}
	s.cfg.Metrics.connected.Set(float64(len(s.streams)))
	return nil
}

// mayOpen reports whether a pod may open another stream now.
func (s *Server) mayOpen(who peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	return s.accounts.pods.of(who.pod, now).opens.AllowN(now, 1)
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
