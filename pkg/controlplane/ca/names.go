package ca

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// names are the names in a leaf for a request, whoever signs it.
type names struct {
	common string
	dns    []string
	uri    *url.URL
}

func namesOf(req Request, domain identity.TrustDomain) (names, error) {
	uri, err := url.Parse(req.Identity.SPIFFE(domain))
	if err != nil {
		return names{}, fmt.Errorf("SPIFFE id: %w", err)
	}
	if _, err := identity.Parse(uri.String(), domain); err != nil {
		return names{}, err
	}
	common := req.Identity.CommonName(domain)
	return names{common, dnsNames(common, req.DNSNames), uri}, nil
}

// dnsNames returns the common name and the further names, sorted and once each.
func dnsNames(commonName string, more []string) []string {
	names := slices.Clone(more)
	if len(commonName) <= maxDNSName {
		names = append(names, commonName)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
