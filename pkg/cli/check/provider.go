package check

import (
	"context"

	"github.com/osm-edge/osm/pkg/cli/provider"
)

// provider checks what the control plane would otherwise wait for forever.
func (p preflight) provider(ctx context.Context) error {
	unchecked, err := provider.Of(p.plan.Provider).Check(ctx, p.Clients, provider.Target{Spec: p.plan.Provider, Namespace: p.plan.Namespace})
	return withWarning(unchecked, err)
}

// withWarning returns the failure, or else the warning that something could not be checked.
func withWarning(unchecked, err error) error {
	if err != nil || unchecked == nil {
		return err
	}
	return Warning(unchecked)
}
