package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Client controls an agent through its control port.
type Client struct {
	// Address is host:port.
	Address string
}

// Call makes the agent make a call; the error says that the agent could not be reached.
func (c Client) Call(ctx context.Context, call Call) (answer Answer, err error) {
	err = c.ask(ctx, http.MethodPost, PathCall, call, &answer)
	return answer, err
}

// SetState changes the responses of the agent's probes.
func (c Client) SetState(ctx context.Context, state State) error {
	return c.ask(ctx, http.MethodPut, PathState, state, nil)
}

// StartLoad makes the agent repeat calls, replacing an earlier load.
func (c Client) StartLoad(ctx context.Context, load Load) error {
	return c.ask(ctx, http.MethodPut, PathLoad, load, nil)
}

// Tally waits until the load counts at least that many calls.
func (c Client) Tally(ctx context.Context, calls int) (tally Tally, err error) {
	err = c.ask(ctx, http.MethodGet, PathLoad+"?calls="+strconv.Itoa(calls), nil, &tally)
	return tally, err
}

// TallySince is Tally, now, with failures after those that are already known.
func (c Client) TallySince(ctx context.Context, known int) (tally Tally, err error) {
	err = c.ask(ctx, http.MethodGet, PathLoad+"?known="+strconv.Itoa(known), nil, &tally)
	return tally, err
}

func (c Client) ask(ctx context.Context, method, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("ask agent for %s: %w", path, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask agent for %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask agent for %s: %w", path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer of agent to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask agent for %s: %s: %s", path, response.Status, strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read answer of agent to %s: %w", path, err)
	}
	return nil
}
