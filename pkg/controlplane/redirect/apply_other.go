//go:build !linux

package redirect

import "errors"

const tableName = "osm"

// Apply fails: only Linux has nftables.
func Apply(Rules) error {
	return errors.New("redirect traffic: only Linux has nftables")
}
