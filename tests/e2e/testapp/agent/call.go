package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// callTimeout limits one call: a peer that only drops packets must also count as a failure.
const callTimeout = 5 * time.Second

// maxAnswer limits how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// caller makes calls. The zero value is not usable; make one with newCaller.
type caller struct {
	fresh, kept, h2c *http.Client
}

func newCaller() *caller {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	return &caller{
		fresh: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		kept:  &http.Client{Transport: &http.Transport{}},
		h2c:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Protocols: &h2c}},
	}
}

// do makes the call once, without retries of its own.
func (c *caller) do(ctx context.Context, call Call) Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	seen, err := c.dispatch(ctx, call)
	if err != nil {
		return Answer{Error: fmt.Sprintf("%s %s: %v", call.Protocol, call.Address, err)}
	}
	return Answer{Seen: seen}
}

func (c *caller) dispatch(ctx context.Context, call Call) (Seen, error) {
	switch call.Protocol {
	case HTTP:
		if call.Keep {
			return overHTTP(ctx, c.kept, call.Address)
		}
		return overHTTP(ctx, c.fresh, call.Address)
	case H2C:
		return overHTTP(ctx, c.h2c, call.Address)
	case GRPC:
		return overGRPC(ctx, call.Address)
	case TCP:
		return overTCP(ctx, call.Address, "hello\n")
	case ServerFirst:
		return overTCP(ctx, call.Address, "")
	case Connect:
		return connect(ctx, call.Address)
	}
	return Seen{}, errors.New("unknown protocol")
}

func overHTTP(ctx context.Context, client *http.Client, address string) (Seen, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
	if err != nil {
		return Seen{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return Seen{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Seen{}, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return Seen{}, fmt.Errorf("status %s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	return decode(body)
}

// overTCP sends a greeting, if any, and reads one line.
func overTCP(ctx context.Context, address, greeting string) (Seen, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return Seen{}, err
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return Seen{}, err
		}
	}
	if _, err := io.WriteString(connection, greeting); err != nil {
		return Seen{}, err
	}
	line, err := bufio.NewReader(io.LimitReader(connection, maxAnswer)).ReadBytes('\n')
	if err != nil {
		return Seen{}, fmt.Errorf("read answer: %w", err)
	}
	return decode(line)
}

func connect(ctx context.Context, address string) (Seen, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return Seen{}, err
	}
	return Seen{Server: address}, connection.Close()
}

func decode(body []byte) (Seen, error) {
	var seen Seen
	if err := json.Unmarshal(body, &seen); err != nil {
		return Seen{}, fmt.Errorf("read answer %q: %w", body, err)
	}
	if seen.Server == "" {
		return Seen{}, fmt.Errorf("answer %q does not name a server", body)
	}
	return seen, nil
}
