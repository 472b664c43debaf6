package rotate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// lookTimeout limits one request to the leader.
const lookTimeout = 15 * time.Second

// maxPage limits the size of a page, which has a line for each proxy: some hundred thousand fit.
const maxPage = 64 << 20

// errNoPage means that the controller does not serve the page.
var errNoPage = errors.New("it does not serve rotations")

// leader queries the controller that currently leads. It keeps the connection to it open
// between requests.
type leader struct {
	forward   command.Forwarder
	namespace string
	lease     func(context.Context) (pod string, err error)

	pod     string // at the other end
	address string // "" if there is no connection
	stop    func()
}

// look queries the current leader and returns its name. After an error the next call opens a new connection.
func (h *leader) look(ctx context.Context) (page rotation.State, pod string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("no answer within %s", lookTimeout))
	defer cancel()
	if pod, err = h.lease(ctx); err != nil {
		return page, "", err
	}
	if pod == "" {
		return page, "", fmt.Errorf("there is no leader: Lease %s/%s has no holder", h.namespace, api.ControllerLease)
	}
	if page, err = h.ask(ctx, pod); err != nil {
		h.close()
		return page, pod, fmt.Errorf("get the rotation from the leader %s/%s: %w", h.namespace, pod, err)
	}
	return page, pod, nil
}

func (h *leader) ask(ctx context.Context, pod string) (page rotation.State, err error) {
	if h.pod != pod {
		h.close()
	}
	if h.address == "" {
		if h.address, h.stop, err = h.forward(ctx, h.namespace, pod, api.PortDebug); err != nil {
			h.address = ""
			return page, err
		}
		h.pod = pod
	}
	answer, err := cluster.Ask(ctx, h.address, debug.RotationPath, maxPage)
	switch {
	case ctx.Err() != nil: // the cause is more informative than the failed request
		return page, context.Cause(ctx)
	case err != nil:
		return page, err
	case answer.Status == http.StatusNotFound:
		return page, errNoPage
	case answer.Status != http.StatusOK:
		return page, errors.New(answer.StatusLine())
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return page, fmt.Errorf("decode the response: %w", err)
	}
	if !page.Leads {
		return page, errors.New("it is not the leader, or has not noticed yet that it is")
	}
	if page.Error != "" {
		return page, errors.New("it reports an error: " + page.Error)
	}
	return page, nil
}

// close closes the connection, if there is one.
func (h *leader) close() {
	if h.address != "" {
		h.stop()
	}
	h.address, h.pod = "", ""
}
