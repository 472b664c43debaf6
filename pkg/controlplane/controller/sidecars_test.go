package controller

import (
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func TestSidecarLimitsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits mesh.Limits
		want   string
	}{
		{"the defaults", mesh.Limits{}, ""},
		{"the minima", mesh.Limits{Handshake: time.Second, RequestHeaders: time.Second, StreamIdle: time.Minute, Streams: 16}, ""},
		{"the maximum", mesh.Limits{Streams: 1<<31 - 1}, ""},
		{"a short handshake", mesh.Limits{Handshake: time.Second - 1}, "--sidecar-handshake-timeout 999.999999ms: want 1s or more"},
		{"short headers", mesh.Limits{RequestHeaders: time.Millisecond}, "--sidecar-request-headers-timeout 1ms: want 1s or more"},
		{"a short rest", mesh.Limits{StreamIdle: 59 * time.Second}, "--sidecar-stream-idle-timeout 59s: want 1m0s or more"},
		{"a negative time", mesh.Limits{Handshake: -1}, "--sidecar-handshake-timeout -1ns: want 1s or more"},
		{"few streams", mesh.Limits{Streams: 15}, "--sidecar-max-streams 15: want 16 to 2147483647"},
		{"many streams", mesh.Limits{Streams: 1 << 31}, "--sidecar-max-streams 2147483648: want 16 to 2147483647"},
		{"two faults", mesh.Limits{Handshake: 1, Streams: 1}, "--sidecar-handshake-timeout 1ns: want 1s or more\n--sidecar-max-streams 1: want 16 to 2147483647"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := validateSidecars(tt.limits); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
