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

// lookTime is how long the leading controller may take to show a rotation once.
const lookTime = 15 * time.Second

// maxPage is how long that page may be: a line for each of some hundred thousand proxies.
const maxPage = 64 << 20

// errNoPage says that the controller does not know the page.
var errNoPage = errors.New("it does not show rotations")

// leader is the controller that leads, whichever that is at the time. It keeps the way to it
// open between two looks.
type leader struct {
	forward   command.Forwarder
	namespace string
	lease     func(context.Context) (pod string, err error)

	pod     string // that the way leads to
	address string // "" when no way is open
	stop    func()
}

// look asks the controller that leads now, and says which that is. After an error the next look
// opens a new way.
func (h *leader) look(ctx context.Context) (page rotation.State, pod string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTime, fmt.Errorf("no answer within %s", lookTime))
	defer cancel()
	if pod, err = h.lease(ctx); err != nil {
		return page, "", err
	}
	if pod == "" {
		return page, "", fmt.Errorf("no controller leads: Lease %s/%s has no holder", h.namespace, api.ControllerLease)
	}
	if page, err = h.ask(ctx, pod); err != nil {
		h.close()
		return page, pod, fmt.Errorf("ask pod %s/%s, which leads, for the rotation: %w", h.namespace, pod, err)
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
	case ctx.Err() != nil: // why it ended says more than what failed because of that
		return page, context.Cause(ctx)
	case err != nil:
		return page, err
	case answer.Status == http.StatusNotFound:
		return page, errNoPage
	case answer.Status != http.StatusOK:
		return page, errors.New(answer.StatusLine())
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return page, fmt.Errorf("read the answer: %w", err)
	}
	if !page.Leads {
		return page, errors.New("it does not lead, or does not know yet that it does")
	}
	if page.Error != "" {
		return page, errors.New("it cannot look at the moment: " + page.Error)
	}
	return page, nil
}

// close ends the way, if one is open.
func (h *leader) close() {
	if h.address != "" {
		h.stop()
	}
	h.address, h.pod = "", ""
}
