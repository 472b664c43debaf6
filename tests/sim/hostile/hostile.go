package hostile

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Plan describes what to attack, and how.
type Plan struct {
	// Target is the address of the port, ServerName the name in its certificate, and Root the CA (PEM).
	Target, ServerName string
	Root               []byte
	// Node, Certificate and Key are the meshed pod's.
	Node             string
	Certificate, Key []byte
	// Meshed and Unmeshed are the addresses that the two pods connect from.
	Meshed, Unmeshed string
	// Lasts is the maximum duration.
	Lasts time.Duration
}

// Outcome counts the attempts of one kind of attack and their results.
type Outcome struct {
	Tried int64 `json:"tried"`
	// Cut is how many attempts the server ended, with an error, a status or a closed connection.
	Cut int64 `json:"cut"`
	// Held is the maximum that was open at a time.
	Held int64 `json:"held"`
}

// attack is one kind of attack.
type attack struct {
	name string
	// every is the time between attempts; at most held of them are open at a time, each for a while.
	every time.Duration
	held  int
	try   func(context.Context, *attacker) error
}

// attacker runs a plan.
type attacker struct {
	Plan
	meshed, bare *tls.Config
}

// Run attacks until ctx ends, in ends, or the time is over, and writes the outcome as JSON.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	var plan Plan
	decoder := json.NewDecoder(in)
	if err := decoder.Decode(&plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, plan.Lasts)
	defer stop()
	go func() { // the parent holds the other end open
		_, _ = io.Copy(io.Discard, decoder.Buffered())
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	a, err := newAttacker(plan)
	if err != nil {
		return err
	}
	outcomes := map[string]*Outcome{}
	var all sync.WaitGroup
	for _, kind := range attacks() {
		o := &Outcome{}
		outcomes[kind.name] = o
		all.Go(func() { kind.run(ctx, a, o) })
	}
	all.Wait()
	return json.NewEncoder(out).Encode(outcomes)
}

// run repeats the attack.
func (k attack) run(ctx context.Context, a *attacker, o *Outcome) {
	var mu sync.Mutex
	var open int64
	var all sync.WaitGroup
	slots := make(chan struct{}, k.held)
	tick := time.NewTicker(k.every)
	defer tick.Stop()
	defer all.Wait()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		mu.Lock()
		o.Tried++
		open++
		o.Held = max(o.Held, open)
		mu.Unlock()
		all.Go(func() {
			err := k.try(ctx, a)
			mu.Lock()
			open--
			if err != nil && ctx.Err() == nil && !errors.Is(err, errOwn) {
				o.Cut++
			}
			mu.Unlock()
			<-slots
		})
	}
}

// errOwn says that the attacker ended an attempt itself.
var errOwn = errors.New("given up")

// dial connects from an address.
func (a *attacker) dial(ctx context.Context, from string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(ctx, "tcp", a.Target)
}

// untilClosed reads and discards until the server closes the connection or ctx ends.
func untilClosed(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		err = io.EOF
	}
	return err
}
