package injector

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestBudget: what is taken is waited for, no source has more than its share, and what nobody may have is
// refused at once.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})
		b := newBudget(100, 60, gauge)
		if _, err := b.take(t.Context(), one, 61); !errors.Is(err, errTooMuch) {
			t.Errorf("more than a share: %v", err)
		}
		first, err := b.take(t.Context(), one, 50)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.take(ctx, one, 20); !errors.Is(err, errBusy) {
			t.Errorf("more than the rest of the share: %v", err)
		}
		second, err := b.take(t.Context(), two, 50)
		if err != nil {
			t.Fatalf("another source: %v", err)
		}
		waited := make(chan error, 1)
		go func() {
			giveBack, err := b.take(t.Context(), two, 10)
			if err == nil {
				giveBack()
			}
			waited <- err
		}()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("took what was not there: %v", err)
		default:
		}
		first()
		first() // twice is once
		if err := <-waited; err != nil {
			t.Error(err)
		}
		second()
		if b.used != 0 || len(b.sources) != 0 || testutil.ToFloat64(gauge) != 0 {
			t.Errorf("left: %d of %v", b.used, b.sources)
		}
	})
}

// TestAnswersWaitWithoutWork has an answer wait for the network's half while another source holds the rest of it.
// If it kept its part of the work's half meanwhile, reviews that hold a body and wait for work could not go on.
func TestAnswersWaitWithoutWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, body := testWebhook(t, enabledNamespace), review(nil)
		giveBack, err := w.network.take(t.Context(), netip.MustParseAddr("10.0.0.1"), w.network.share)
		if err != nil {
			t.Fatal(err)
		}
		w.network.total = w.network.share + int64(len(body))
		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() { answered <- post(w, http.MethodPost, body) }()
		synctest.Wait()
		if work, network := testutil.ToFloat64(w.metrics.inFlight.WithLabelValues("work")), testutil.ToFloat64(w.metrics.inFlight.WithLabelValues("network")); work != 0 || int64(network) != w.network.total {
			t.Errorf("%v bytes of work and %v of the network are set aside, want 0 and %d", work, network, w.network.total)
		}
		giveBack()
		if out := <-answered; out.Code != http.StatusOK {
			t.Errorf("status %d: %s", out.Code, out.Body)
		}
	})
}

// TestBusyReviewsAreToldWhenToComeBack fills the budget and expects what makes the API server try again.
func TestBusyReviewsAreToldWhenToComeBack(t *testing.T) {
	w := testWebhook(t, enabledNamespace)
	giveBack, err := w.work.take(t.Context(), netip.Addr{}, w.work.total)
	if err != nil {
		t.Fatal(err)
	}
	out := post(w, http.MethodPost, review(nil))
	if out.Code != http.StatusTooManyRequests || out.Header().Get("Retry-After") != retryAfter {
		t.Errorf("status %d, header %v", out.Code, out.Header())
	}
	giveBack()
	if out := post(w, http.MethodPost, review(nil)); out.Code != http.StatusOK {
		t.Errorf("status %d afterwards", out.Code)
	}
}
