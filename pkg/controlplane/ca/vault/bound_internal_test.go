package vault

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestBoundIsExact checks that a response of exactly the maximum length is read completely, and that one more byte
// is too long, in whatever pieces it arrives.
func TestBoundIsExact(t *testing.T) {
	for name, arrives := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "end with the last byte": iotest.DataErrReader,
	} {
		for _, size := range []int{maxResponse - 1, maxResponse, maxResponse + 1, 2 * maxResponse} {
			body := &boundedBody{io.NopCloser(arrives(strings.NewReader(strings.Repeat("x", size)))), maxResponse}
			read, err := io.ReadAll(body)
			if size <= maxResponse && (err != nil || len(read) != size) {
				t.Errorf("%s: %d of %d bytes: %v", name, len(read), size, err)
			}
			if size > maxResponse && (err == nil || len(read) > maxResponse) {
				t.Errorf("%s: %d of %d bytes: %v, want a refusal", name, len(read), size, err)
			}
		}
	}
}
