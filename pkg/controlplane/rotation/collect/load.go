package collect

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/osm-edge/osm/pkg/controlplane/rebalance"
)

// LoadPath is where a replica tells how many proxies it serves.
const LoadPath = "/load"

// Load is how many proxies a replica serves.
type Load struct {
	Proxies  int  `json:"proxies"`
	Draining bool `json:"draining,omitempty"`
}

// Loads asks controllers, by name and IP address, for their load, all at the same time. One that does not answer
// before ctx ends is in the result with an error. It is not safe for concurrent use, and neither together with
// Collect.
func (c *Collector) Loads(ctx context.Context, addresses map[string]string) ([]rebalance.Peer, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	client, err := c.httpClient(ctx)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	peers := make([]rebalance.Peer, 0, len(addresses))
	for name := range addresses {
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
