package collect

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

// LoadPath is where a replica tells how many proxies it serves.
const LoadPath = "/load"

// Load is how many proxies a replica serves.
type Load struct {
	Proxies  int  `json:"proxies"`
	Draining bool `json:"draining,omitempty"`
}

// loadTimeout is how long a peer may take to tell its load.
const loadTimeout = time.Second

// Loads asks controllers, by name and IP address, for their load, all at the same time, and returns them sorted by name. One
// that does not answer within a second is in the result with an error. The client certificate may take longer: an error
// is that of its issue. Loads is not safe for concurrent use, and neither together with Collect.
func (c *Collector) Loads(ctx context.Context, addresses map[string]string) ([]rebalance.Peer, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	client, err := c.httpClient(ctx)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	peers := make([]rebalance.Peer, 0, len(addresses))
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		peers = append(peers, rebalance.Peer{Name: name})
	}
	var asked sync.WaitGroup
	for i := range peers {
		asked.Go(func() {
			var load Load
			body, err := c.get(ctx, client, addresses[peers[i].Name], LoadPath)
			if err == nil {
				err = json.Unmarshal(body, &load)
			}
			peers[i].Proxies, peers[i].Draining, peers[i].Err = load.Proxies, load.Draining, err
		})
	}
	asked.Wait()
	return peers, nil
}
