package vault

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestBoundIsExact checks that a response as long as the bound is read whole, and that one more byte is too
// long, in whatever pieces it arrives.
func TestBoundIsExact(t *testing.T) {
	for name, arrives := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "end with the last byte": iotest.DataErrReader,
	} {
		for _, size := range []int{maxAnswer - 1, maxAnswer, maxAnswer + 1, 2 * maxAnswer} {
			body := &boundedBody{io.NopCloser(arrives(strings.NewReader(strings.Repeat("x", size)))), maxAnswer}
			read, err := io.ReadAll(body)
			if size <= maxAnswer && (err != nil || len(read) != size) {
				t.Errorf("%s: %d of %d bytes: %v", name, len(read), size, err)
			}
			if size > maxAnswer && (err == nil || len(read) > maxAnswer) {
				t.Errorf("%s: %d of %d bytes: %v, want a refusal", name, len(read), size, err)
			}
		}
	}
}
