package output

import (
	"fmt"
	"io"
	"time"
)

// Progress writes a line for each change of something that a command waits for.
type Progress struct {
	out   io.Writer
	now   func() time.Time
	start time.Time
}

// NewProgress returns a Progress that starts now.
func NewProgress(out io.Writer, now func() time.Time) *Progress {
	return &Progress{out, now, now()}
}

// Change reports that n of m parts of a thing are ready.
func (p *Progress) Change(kind, name string, ready, desired int32, done bool) {
	state := "waiting"
	if done {
		state = "done"
	}
	fmt.Fprint(p.out, Sprintf("%-8s %s %s: %d/%d ready (%s)\n", state, kind, name, ready, desired, p.Elapsed()))
}

// Elapsed is the time since the start, in whole seconds.
func (p *Progress) Elapsed() time.Duration { return p.now().Sub(p.start).Truncate(time.Second) }
