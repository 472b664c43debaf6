package agent

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// host is a machine on which every address is a free port of the loopback interface.
type host struct {
	mu        sync.Mutex
	addresses map[string]string
	opened    chan string // wanted addresses, as they are opened
}

func newHost() *host {
	return &host{addresses: map[string]string{}, opened: make(chan string, 100)}
}

func (h *host) listen(ctx context.Context, network, wanted string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.addresses[wanted] = listener.Addr().String()
	h.mu.Unlock()
	h.opened <- wanted
	return listener, nil
}

func (h *host) address(wanted string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addresses[wanted]
}

func port(number int) string { return ":" + strconv.Itoa(number) }

// run starts an agent and waits until it listens everywhere.
func run(t *testing.T) *host {
	t.Helper()
	h := newHost()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Server: "server-0", Listen: h.listen, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v after it was asked to stop, want nil", err)
		}
	})
	const addresses = 8 // six protocols' ports, the probe's and the control port
	for range addresses {
		<-h.opened
	}
	return h
}

func TestEveryProtocolIsAnswered(t *testing.T) {
	h := run(t)
	calls := newCaller()
	for protocol, number := range map[Protocol]int{HTTP: PortHTTP, H2C: PortH2C, GRPC: PortGRPC, TCP: PortTCP, ServerFirst: PortServerFirst} {
		answer := calls.do(t.Context(), Call{Protocol: protocol, Address: h.address(port(number))})
		if !answer.OK() || answer.Seen.Server != "server-0" || answer.Seen.Source == "" || answer.Seen.Port == 0 {
			t.Errorf("%s call = %+v, want an answer of server-0", protocol, answer)
		}
		if answer.Seen.Peer != "" {
			t.Errorf("%s call: peer %q, although no proxy reported one", protocol, answer.Seen.Peer)
		}
	}
}

func TestOnlyAnAgentsAnswerCounts(t *testing.T) {
	h := run(t)
	calls := newCaller()
	for name, call := range map[string]Call{
		"another protocol": {Protocol: GRPC, Address: h.address(port(PortTCP))},
		"a closed port":    {Protocol: HTTP, Address: "127.0.0.1:1"},
		"a silent close":   {Protocol: TCP, Address: h.address(port(PortTCPReady))},
		"no protocol":      {Protocol: "smoke", Address: h.address(port(PortTCP))},
	} {
		if answer := calls.do(t.Context(), call); answer.OK() {
			t.Errorf("%s: call %+v was answered %+v, want an error", name, call, answer)
		}
	}
}

// Connect succeeds with a listener of any protocol, and fails without a listener.
func TestConnect(t *testing.T) {
	h := run(t)
	calls := newCaller()
	if answer := calls.do(t.Context(), Call{Protocol: Connect, Address: h.address(port(PortTCPReady))}); !answer.OK() {
		t.Errorf("connect to an open port = %+v", answer)
	}
	if answer := calls.do(t.Context(), Call{Protocol: Connect, Address: "127.0.0.1:1"}); answer.OK() {
		t.Errorf("connect to a closed port = %+v, want an error", answer)
	}
}

func TestStateIsWhatProbesAnswer(t *testing.T) {
	h := run(t)
	control := Client{Address: h.address("127.0.0.1:" + strconv.Itoa(PortControl))}
	if err := control.SetState(t.Context(), State{Ready: false, Live: true}); err != nil {
		t.Fatal(err)
	}
	if answer := newCaller().do(t.Context(), Call{Protocol: GRPC, Address: h.address(port(PortGRPC))}); !answer.OK() || !answer.Seen.Leaving {
		t.Errorf("gRPC health of an unready agent = %+v, want an answer that says that it leaves", answer)
	}
	if err := control.SetState(t.Context(), State{Ready: true, Live: true}); err != nil {
		t.Fatal(err)
	}
	if reopened := <-h.opened; reopened != port(PortTCPReady) {
		t.Errorf("address %s was opened when the agent became ready again, want %s", reopened, port(PortTCPReady))
	}
	if answer := newCaller().do(t.Context(), Call{Protocol: GRPC, Address: h.address(port(PortGRPC))}); !answer.OK() || answer.Seen.Leaving {
		t.Errorf("gRPC health of a ready agent = %+v, want an answer that it stays", answer)
	}
}

func TestLoadCounts(t *testing.T) {
	h := run(t)
	control := Client{Address: h.address("127.0.0.1:" + strconv.Itoa(PortControl))}
	calls := []Call{{Protocol: HTTP, Address: h.address(port(PortHTTP)), Keep: true}, {Protocol: HTTP, Address: "127.0.0.1:1"}}
	if err := control.StartLoad(t.Context(), Load{Calls: calls, Interval: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	const enough = 30
	tally, err := control.Tally(t.Context(), enough)
	if err != nil {
		t.Fatal(err)
	}
	if tally.Succeeded+tally.Failed < enough || tally.Succeeded == 0 || tally.Failed == 0 || tally.Servers["server-0"] != tally.Succeeded {
		t.Errorf("tally = %+v, want %d calls of both kinds", tally, enough)
	}
	if len(tally.Failures) == 0 || tally.Failures[0].Call != calls[1] || !strings.Contains(tally.Failures[0].Error, "refused") {
		t.Errorf("failures = %+v, want those of %+v", tally.Failures, calls[1])
	}
	if err := control.StartLoad(t.Context(), Load{Calls: calls}); err == nil {
		t.Error("a load without interval was accepted")
	}
}
