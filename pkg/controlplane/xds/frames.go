package xds

import (
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/time/rate"
)

const (
	// frameRate and frameBurst bound the HTTP/2 frames that a connection may send, per second and at
	// once. A limit on bytes does not bound them: a SETTINGS or PING frame takes a few bytes, and the server
	// answers each one. A proxy sends two frames for each message that it acknowledges. A TLS record, which one
	// Read returns, holds fewer frames than frameBurst.
	frameRate, frameBurst = 512, 2048

	frameHeader = 9 // bytes (RFC 9113, section 4.1)
)

// frameLimiter is a proxy's connection below HTTP/2 and above TLS. It slows down a peer that sends too many frames, and
// changes none.
type frameLimiter struct {
	net.Conn
	frames  frameCounter
	limiter *rate.Limiter
	over    func() // called each time that the peer has to wait
}

func limitFrames(conn net.Conn, over func()) *frameLimiter {
	return &frameLimiter{
		Conn: conn, over: over,
		frames:  frameCounter{skip: len(http2.ClientPreface)},
		limiter: rate.NewLimiter(frameRate, frameBurst),
	}
}

// Read returns what the peer sent, late if it sends too many frames.
func (l *frameLimiter) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	frames := l.frames.count(p[:n])
	for frames > 0 {
		now, some := time.Now(), min(frames, frameBurst)
		frames -= some
		if delay := l.limiter.ReserveN(now, some).DelayFrom(now); delay > 0 {
			l.over()
			time.Sleep(delay)
		}
	}
	return n, err
}

// frameCounter counts the frames in a sequence of bytes that arrives in pieces.
type frameCounter struct {
	skip   int // bytes until the next header: the preface, or the rest of a payload
	header [frameHeader]byte
	have   int // bytes of the header
}

// count returns how many frames start, with their whole header, in the next bytes.
func (c *frameCounter) count(p []byte) (frames int) {
	for len(p) > 0 {
		if c.skip > 0 {
			n := min(c.skip, len(p))
			c.skip -= n
			p = p[n:]
			continue
		}
		n := copy(c.header[c.have:], p)
		c.have += n
		p = p[n:]
		if c.have == frameHeader {
			c.have = 0
			c.skip = int(c.header[0])<<16 | int(c.header[1])<<8 | int(c.header[2])
			frames++
		}
	}
	return frames
}
