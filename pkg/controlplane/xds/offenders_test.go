package xds

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// lines collects what is logged. It can be read at any time.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Len returns the number of bytes logged.
func (l *lines) Len() int { return len(l.String()) }

// known returns how many offenders currently have their own budget of log lines.
func (n *offenders) known() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.budgets)
}

// A storm of refusals results in a few lines and a count; the refusal of another proxy is still logged.
func TestRefusalsAreLoggedInMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(2, 2, 1)))
		storm := func(d *memoryDelta, times int) {
			for range times {
				d.ask(envoy.Endpoints, nil, "shop/service0|80")
				resp := decodeDelta(t, <-d.responses)
				d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: strings.Repeat("no", 5000)}})
			}
			synctest.Wait()
		}
		hostile, honest := m.open(t.Context(), "service0-0"), m.open(t.Context(), "service1-1")
		storm(hostile, 100)
		storm(honest, 1)
		if n := strings.Count(log.String(), "proxy rejected"); n != m.cfg.Limits.LogLines+1 {
			t.Errorf("%d lines, want %d and one", n, m.cfg.Limits.LogLines)
		}
		if n := testutil.ToFloat64(m.metrics.nacks[envoy.Endpoints]); n != 101 {
			t.Errorf("%v counted, want all", n)
		}
		time.Sleep(budgetWindow)
		synctest.Wait()
		if want := fmt.Sprintf("about=%q lines=%d", "pod shop/service0-0", 100-m.cfg.Limits.LogLines); !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
		if log.Len() > 20_000 {
			t.Errorf("%d bytes of log", log.Len())
		}
		hostile.close()
		honest.close()
	})
}

// However many offenders there are, metrics and memory hold a bounded number of them.
func TestOffendersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
		for i := range 5000 {
			m.offenders.report("names", fmt.Sprintf("pod shop/hostile-%d", i), "too many names")
		}
		if n := testutil.CollectAndCount(m.metrics.limited); n != maxNamed {
			t.Errorf("%d series, want %d", n, maxNamed)
		}
		if n := m.offenders.known(); n != maxBudgets+1 {
			t.Errorf("%d budgets, want %d and the shared one", n, maxBudgets)
		}
		if n := strings.Count(log.String(), "\n"); n > maxBudgets+m.cfg.Limits.LogLines {
			t.Errorf("%d lines", n)
		}
		time.Sleep(budgetWindow)
		synctest.Wait()
		if n := m.offenders.known(); n != 0 || !strings.Contains(log.String(), "about=others") {
			t.Errorf("%d budgets are left after a minute", n)
		}
	})
}
