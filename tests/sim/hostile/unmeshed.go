package hostile

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// unmeshedAttacks returns the attacks of a pod without a certificate.
func unmeshedAttacks() []attack {
	bare := func(say func(context.Context, *attacker, net.Conn) error) func(context.Context, *attacker) error {
		return func(ctx context.Context, a *attacker) error {
			conn, err := a.dial(ctx, a.Unmeshed)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := say(ctx, a, conn); err != nil {
				return err
			}
			return untilClosed(ctx, conn)
		}
	}
	return []attack{
		{"half-open connections", 5 * time.Millisecond, 1000, bare(func(context.Context, *attacker, net.Conn) error { return nil })},
		{"garbage", 50 * time.Millisecond, 50, bare(func(_ context.Context, _ *attacker, c net.Conn) error {
			_, err := c.Write(make([]byte, 16<<10))
			return err
		})},
		{"plain text", 50 * time.Millisecond, 50, bare(func(_ context.Context, _ *attacker, c net.Conn) error {
			_, err := io.WriteString(c, http2.ClientPreface)
			return err
		})},
		{"slow handshakes", 50 * time.Millisecond, 200, bare(slowly)},
		{"TLS 1.2", 50 * time.Millisecond, 50, bare(func(ctx context.Context, a *attacker, c net.Conn) error {
			old := a.meshed.Clone()
			old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return tls.Client(c, old).HandshakeContext(ctx)
		})},
		{"TLS without certificate", 20 * time.Millisecond, 100, bare(func(ctx context.Context, a *attacker, c net.Conn) error {
			return tls.Client(c, a.bare).HandshakeContext(ctx)
		})},
	}
}

// slowly sends an endless ClientHello, one byte a second.
func slowly(ctx context.Context, _ *attacker, c net.Conn) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	if _, err := c.Write([]byte{0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb}); err != nil {
		return err
	}
	for {
		if _, err := c.Write([]byte{3}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
