package xds

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"

	"github.com/osm-edge/osm/tests/reach"
)

// departed is a connection whose peer has sent something and then left.
type departed struct {
	net.Conn
	sent bytes.Buffer
}

func (d *departed) Read(p []byte) (int, error) { return d.sent.Read(p) }

// TestFramesAreLimited reads what a peer sent and compares the time that it takes.
func TestFramesAreLimited(t *testing.T) {
	for _, c := range []struct {
		name        string
		send        func(*http2.Framer)
		least, most time.Duration
	}{
		{"a large request", func(f *http2.Framer) {
			for range 64 {
				_ = f.WriteData(1, false, make([]byte, 16<<10))
			}
		}, 0, 0},
		{"as many frames as allowed at once", func(f *http2.Framer) {
			for range frameBurst {
				_ = f.WriteSettings()
			}
		}, 0, 0},
		{"one more", func(f *http2.Framer) {
			for range frameBurst + 1 {
				_ = f.WritePing(false, [8]byte{})
			}
		}, time.Second / frameRate, time.Second / frameRate},
		{"a flood", func(f *http2.Framer) {
			for range frameBurst + 100*frameRate {
				_ = f.WriteSettings()
			}
		}, 100 * time.Second, 101 * time.Second},
		{"a flood of frames without payload", func(f *http2.Framer) {
			for range frameBurst + 100*frameRate {
				_ = f.WriteData(1, false, nil)
			}
		}, 100 * time.Second, 101 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, waits := &departed{}, 0
				conn.sent.WriteString(http2.ClientPreface)
				c.send(http2.NewFramer(&conn.sent, nil))
				want := bytes.Clone(conn.sent.Bytes())
				began := time.Now()
				got, err := io.ReadAll(limitFrames(conn, func() { waits++ }))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes were read, %v; want the %d that were sent", len(got), err, len(want))
				}
				if took := time.Since(began); took < c.least || took > c.most || (waits > 0) != (c.least > 0) {
					t.Errorf("took %s with %d waits, want %s to %s", took, waits, c.least, c.most)
				}
			})
		})
	}
}

// A server slows down a connection that floods it with frames, and names its address.
func TestServerSlowsFloodsOfFrames(t *testing.T) {
	r := newLimitedRig(t, Limits{})
	raw, err := r.dialFrom("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(r.issuer.Trust().Bundle)
	conn := tls.Client(raw, &tls.Config{RootCAs: trusted, ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{r.certificate("store")}})
	go func() { _, _ = io.Copy(io.Discard, conn) }() // until the connection is closed
	_, err = io.WriteString(conn, http2.ClientPreface)
	for framer := http2.NewFramer(conn, nil); err == nil && testutil.ToFloat64(r.metrics.limited.WithLabelValues("frames-per-connection-per-second", "address 127.0.0.2")) == 0; {
		err = framer.WriteSettings()
	}
	if err != nil {
		t.Errorf("the connection was closed before its frames had to wait: %v", err)
	}
}

// FuzzFrames compares the counter with a parser of frames, however the bytes are cut into pieces.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, uint8(5))
	f.Add([]byte{0, 0, 3, 0, 0, 0, 0, 0, 1, 1, 2, 3, 0, 0}, uint8(1))
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 1}, uint8(3))
	f.Add([]byte{}, uint8(0))
	outcomes := reach.All(f, "none", "whole", "cut")
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		want, rest := 0, text
		for len(rest) >= frameHeader {
			want++
			length := frameHeader + int(rest[0])<<16 + int(rest[1])<<8 + int(rest[2])
			if length > len(rest) {
				break
			}
			rest = rest[length:]
		}
		switch {
		case want == 0:
			outcomes.Note("none")
		case len(rest) == 0:
			outcomes.Note("whole")
		default:
			outcomes.Note("cut")
		}
		var c frameCounter
		got := 0
		for left := text; len(left) > 0; {
			n := min(len(left), int(piece)+1)
			got += c.count(left[:n])
			left = left[n:]
		}
		if got != want {
			t.Errorf("%d frames counted, want %d", got, want)
		}
	})
}
