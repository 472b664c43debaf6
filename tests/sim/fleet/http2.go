package fleet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// channel is an HTTP/2 connection with at most one gRPC stream at a time. It has no goroutine of its
// own: everything happens inside its owner's calls. A gRPC library would spend more
// on each message than the server under test does.
type channel struct {
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	framer *http2.Framer
	header bytes.Buffer
	hpack  *hpack.Encoder

	stream  uint32 // of the open one, 0 if there is none
	nextID  uint32
	leaving bool   // the server sent GOAWAY: no new stream on this connection
	queue   []byte // gRPC frames that do not fit into the send windows yet

	// Send windows, as the server grants them.
	connWindow, streamWindow, initialWindow int64
	// Bytes received since the last grant to the server.
	connTaken, streamTaken uint32

	message []byte // received so far of the current message, with its prefix
	large   *sync.Pool
}

// Windows as Envoy grants them, so that the client never delays the server.
const (
	clientStreamWindow = 16 << 20
	clientConnWindow   = 24 << 20
	defaultWindow      = 65535
	maxFrame           = 16 << 10
	grpcPrefix         = 5
	// maxMessage is more than any response; beyond it the stream is broken.
	maxMessage = 64 << 20
	// smallMessage is how large a buffer each connection may keep: most messages are small, and an
	// Envoy's connection is quiet most of the time.
	smallMessage = 4 << 10
	// largeMessage is the smallest pooled buffer: most messages that are not small fit.
	largeMessage = 64 << 10
)

// newChannel starts HTTP/2 on an established connection. large is the pool of buffers (*[]byte) for
// large messages.
func newChannel(conn net.Conn, large *sync.Pool) (*channel, error) {
	c := &channel{
		conn: conn, large: large, nextID: 1, connWindow: defaultWindow, initialWindow: defaultWindow,
		in: bufio.NewReaderSize(conn, 2<<10), out: bufio.NewWriterSize(conn, 1<<10),
	}
	c.framer = http2.NewFramer(c.out, c.in)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.header)
	err := errors.Join(
		writeString(c.out, http2.ClientPreface),
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: clientStreamWindow}, http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		c.framer.WriteWindowUpdate(0, clientConnWindow-defaultWindow),
		c.out.Flush())
	if err != nil {
		return nil, fmt.Errorf("start HTTP/2: %w", err)
	}
	return c, nil
}

func writeString(w *bufio.Writer, s string) error {
	_, err := w.WriteString(s)
	return err
}

// open begins a stream.
func (c *channel) open(method, authority string) error {
	c.stream, c.nextID = c.nextID, c.nextID+2
	c.streamWindow, c.streamTaken = c.initialWindow, 0
	c.queue, c.message = nil, c.message[:0]
	c.header.Reset()
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: authority}, {Name: "te", Value: "trailers"}, {Name: "content-type", Value: "application/grpc"},
	} {
		if err := c.hpack.WriteField(f); err != nil {
			return err
		}
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.header.Bytes(), EndHeaders: true})
}

// send queues messages and sends as much as the server grants. receive sends the rest.
func (c *channel) send(messages []outgoing) error {
	for _, m := range messages {
		c.queue = append(c.queue, 0)
		c.queue = binary.BigEndian.AppendUint32(c.queue, uint32(len(m)))
		c.queue = append(c.queue, m...)
	}
	if err := c.pump(); err != nil {
		return err
	}
	return c.out.Flush()
}

func (c *channel) pump() error {
	for len(c.queue) > 0 && c.stream != 0 {
		n := min(int64(len(c.queue)), c.connWindow, c.streamWindow, maxFrame)
		if n <= 0 {
			return nil
		}
		if err := c.framer.WriteData(c.stream, false, c.queue[:n]); err != nil {
			return err
		}
		c.queue = c.queue[n:]
		c.connWindow -= n
		c.streamWindow -= n
	}
	return nil
}

// receive waits for the next message, which is valid until the next call. When the stream has ended
// the error is the server's status, and the channel may be used for another stream unless done says
// otherwise.
func (c *channel) receive() ([]byte, error) {
	c.consume()
	for {
		if m, err := c.complete(); m != nil || err != nil {
			return m, err
		}
		if err := c.out.Flush(); err != nil {
			return nil, err
		}
		header, err := c.framer.ReadFrameHeader()
		if err != nil {
			return nil, err
		}
		if header.Type == http2.FrameData && header.StreamID == c.stream {
			err = c.data(header)
		} else {
			err = c.other(header)
		}
		if err != nil {
			return nil, err
		}
	}
}

// done reports whether another stream needs another connection.
func (c *channel) done() bool { return c.leaving }

// complete returns the current message if all of it is there.
func (c *channel) complete() ([]byte, error) {
	if len(c.message) < grpcPrefix {
		return nil, nil
	}
	size := int(binary.BigEndian.Uint32(c.message[1:grpcPrefix]))
	if c.message[0] != 0 || size > maxMessage {
		return nil, fmt.Errorf("response of %d bytes with flag %d", size, c.message[0])
	}
	if len(c.message) < grpcPrefix+size {
		return nil, nil
	}
	return c.message[grpcPrefix : grpcPrefix+size], nil
}

// consume drops the last returned message.
func (c *channel) consume() {
	if len(c.message) < grpcPrefix {
		return
	}
	size := grpcPrefix + int(binary.BigEndian.Uint32(c.message[1:grpcPrefix]))
	if size > len(c.message) {
		return
	}
	rest := c.message[size:]
	if cap(c.message) <= smallMessage {
		c.message = append(c.message[:0], rest...)
		return
	}
	used := c.message
	c.message = append([]byte(nil), rest...)
	c.large.Put(&used)
}

// keep reads the next bytes into the current message. It makes room for the whole message as soon
// as its size is known.
func (c *channel) keep(n int) error {
	if first := min(grpcPrefix-len(c.message), n); first > 0 {
		if err := c.read(first); err != nil {
			return err
		}
		n -= first
	}
	if len(c.message) >= grpcPrefix {
		size := grpcPrefix + int(binary.BigEndian.Uint32(c.message[1:grpcPrefix]))
		if size > cap(c.message) && size <= maxMessage {
			c.message = append(c.room(size), c.message...)
		}
	}
	return c.read(n)
}

// room returns an empty buffer for a message.
func (c *channel) room(size int) []byte {
	if size <= smallMessage {
		return make([]byte, 0, smallMessage)
	}
	if lent, ok := c.large.Get().(*[]byte); ok && cap(*lent) >= size {
		return (*lent)[:0]
	}
	return make([]byte, 0, max(largeMessage, 1<<bits.Len(uint(size))))
}

func (c *channel) read(n int) error {
	at := len(c.message)
	c.message = slices.Grow(c.message, n)[:at+n]
	_, err := io.ReadFull(c.in, c.message[at:])
	return err
}

// other handles a frame that carries no message of the open stream.
func (c *channel) other(header http2.FrameHeader) error {
	frame, err := c.framer.ReadFrameForHeader(header)
	if err != nil {
		return err
	}
	switch f := frame.(type) {
	case *http2.DataFrame: // of a stream that has ended
		return c.grant(header.Length)
	case *http2.MetaHeadersFrame:
		if f.StreamID == c.stream && f.StreamEnded() {
			return c.ended(statusOf(f))
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == c.stream {
			return c.ended(status.Error(codes.Unavailable, "stream reset: "+f.ErrCode.String()))
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		switch f.StreamID {
		case 0:
			c.connWindow += int64(f.Increment)
		case c.stream:
			c.streamWindow += int64(f.Increment)
		}
		return c.pump()
	case *http2.GoAwayFrame:
		c.leaving = true
		if c.stream > f.LastStreamID {
			return c.ended(status.Error(codes.Unavailable, "connection is going away: "+f.ErrCode.String()))
		}
	}
	return nil
}

// data reads a frame of the open stream directly from the connection: copying everything would
// cost this process more than everything else.
func (c *channel) data(header http2.FrameHeader) error {
	if header.Flags.Has(http2.FlagDataPadded) {
		return errors.New("padded data, which gRPC servers do not send")
	}
	if err := c.keep(int(header.Length)); err != nil {
		return err
	}
	if err := c.grant(header.Length); err != nil {
		return err
	}
	if header.Flags.Has(http2.FlagDataEndStream) {
		return c.ended(status.Error(codes.Unavailable, "stream ended without a status"))
	}
	c.streamTaken += header.Length
	if c.streamTaken <= clientStreamWindow/2 {
		return nil
	}
	taken := c.streamTaken
	c.streamTaken = 0
	return c.framer.WriteWindowUpdate(c.stream, taken)
}

// grant lets the server send the same amount again on the connection.
func (c *channel) grant(taken uint32) error {
	if c.connTaken += taken; c.connTaken <= clientConnWindow/2 {
		return nil
	}
	taken, c.connTaken = c.connTaken, 0
	return c.framer.WriteWindowUpdate(0, taken)
}

func (c *channel) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		c.streamWindow += int64(v) - c.initialWindow
		c.initialWindow = int64(v)
	}
	if err := c.framer.WriteSettingsAck(); err != nil {
		return err
	}
	return c.pump()
}

// ended closes the stream and returns why.
func (c *channel) ended(why error) error {
	c.stream = 0
	return why
}

// statusOf reads the trailers. A stream that ends with OK is also an error: an Envoy never asks for
// its end.
func statusOf(f *http2.MetaHeadersFrame) error {
	code, message := codes.Unknown, ""
	for _, field := range f.Fields {
		switch field.Name {
		case "grpc-status":
			if n, err := strconv.ParseUint(field.Value, 10, 32); err == nil {
				code = codes.Code(n)
			}
		case "grpc-message":
			message = field.Value
		}
	}
	if code == codes.OK {
		return status.Error(codes.Canceled, "the server ended the stream")
	}
	return status.Error(code, message)
}
