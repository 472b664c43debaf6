// Package progress shows which step is running and how long each took. It is not a logger.
// Invariant: every step that was begun is printed exactly once, as done or as failed.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer writes one line per finished step; steps may end in any order and from any goroutine.
type Printer struct {
	out   io.Writer
	now   func() time.Time
	start time.Time
	mu    sync.Mutex
}

// New returns a Printer and starts its clock.
func New(out io.Writer, now func() time.Time) *Printer {
	return &Printer{out: out, now: now, start: now()}
}

// Step runs do and prints what it was and how long it took.
func (p *Printer) Step(what string, do func() error) error {
	begun := p.now()
	err := do()
	mark := "ok  "
	if err != nil {
		mark = "FAIL"
	}
	p.print("%s %-58s %s\n", mark, what, seconds(p.now().Sub(begun)))
	return err
}

// Say prints a separate line.
func (p *Printer) Say(format string, args ...any) { p.print("     "+format+"\n", args...) }

// countEvery is the minimum time between two lines of one Count.
const countEvery = 10 * time.Second

// Count returns a function to call for each finished item, beginning after done of all. It prints the progress of
// the work and the time since its start, at most once in ten seconds and at the end. The function is not safe for
// concurrent use.
func (p *Printer) Count(what string, done, all int, things string) func() {
	begun := p.now()
	last := begun
	return func() {
		done++
		now := p.now()
		if now.Sub(last) < countEvery && done != all {
			return
		}
		last = now
		p.Say("%s: %d of %d %s, %s so far", what, done, all, things, now.Sub(begun).Round(time.Second))
	}
}

// Total prints the last line: what was reached and the time since New.
func (p *Printer) Total(what string) { p.print("%s in %s\n", what, seconds(p.now().Sub(p.start))) }

func (p *Printer) print(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
