package progress

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestStepsAndTotal(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := New(&out, func() time.Time { return now })
	if err := p.Step("first", func() error { now = now.Add(1500 * time.Millisecond); return nil }); err != nil {
		t.Fatal(err)
	}
	p.Say("note %d", 1)
	broken := errors.New("broken")
	if err := p.Step("second", func() error { now = now.Add(time.Second); return broken }); !errors.Is(err, broken) {
		t.Errorf("Step returned %v", err)
	}
	p.Total("all")
	const want = `ok   first                                                      1.5s
     note 1
FAIL second                                                     1.0s
all in 2.5s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestCountPrintsEveryTenSecondsAndAtTheEnd(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	done := New(&out, func() time.Time { return now }).Count("kubernetes", 10, 15, "packages")
	for range 5 {
		now = now.Add(4 * time.Second)
		done()
	}
	const want = `     kubernetes: 13 of 15 packages, 12s so far
     kubernetes: 15 of 15 packages, 20s so far
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
