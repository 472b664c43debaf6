package api

import "strings"

// The kinds of certificate providers, as osm.certificateProvider.kind, --certificate-provider and
// osm mesh rotate-root --provider spell them.
const (
	// ProviderTresor is the built-in CA, whose key is in a Secret of the mesh.
	ProviderTresor = "tresor"
	// ProviderVault is the PKI engine of a server with Vault's API.
	ProviderVault = "vault"
	// ProviderCertManager is an issuer of cert-manager.
	ProviderCertManager = "cert-manager"
)

// ProviderKinds are all kinds of certificate providers.
func ProviderKinds() []string { return []string{ProviderTresor, ProviderVault, ProviderCertManager} }

// ProviderChoice lists the kinds for messages: "tresor, vault or cert-manager".
func ProviderChoice() string {
	kinds := ProviderKinds()
	last := len(kinds) - 1
	return strings.Join(kinds[:last], ", ") + " or " + kinds[last]
}
