package ca

import "fmt"

// RootState is the result of comparing the root in the cluster with the one that a replica loaded.
type RootState string

// The states.
const (
	// RootSame: the Secret holds the loaded root.
	RootSame RootState = "same"
	// RootDiffers: the Secret holds a different valid root, or the provider signs with one. All running
	// replicas share the loaded one, and none starts with that of the Secret.
	RootDiffers RootState = "differs"
	// RootBroken: the Secret holds no usable root. All running replicas share the loaded one.
	RootBroken RootState = "broken"
	// RootMissing: the Secret was deleted. All running replicas share the loaded one.
	RootMissing RootState = "missing"
)

// RootStatus is what a provider reports about its root.
type RootStatus struct {
	State RootState
	// Secret is namespace/name of the root's Secret; it is empty with an external provider.
	Secret string
	// Provider names the external provider, for example "Vault at https://vault:8200".
	Provider string
	// Loaded and Found are fingerprints; Found is empty unless the Secret holds a root.
	Loaded, Found string
	// Err says why the Secret holds no usable root.
	Err error
}

// Ready reports whether a replica with the loaded root may serve proxies. It may not if an external provider
// signs with a different root. What happens to the Secret does not matter: all running replicas share the
// loaded root, and one bad write must not take all of them away.
func (s RootStatus) Ready() bool { return s.State != RootDiffers || s.Provider == "" && s.Secret != "" }

// String says in one sentence what is wrong and how to fix it; it is empty if nothing is.
func (s RootStatus) String() string {
	switch s.State {
	case RootSame:
		return ""
	case RootDiffers:
		if s.Secret != "" {
			return fmt.Sprintf("Secret %s holds a different root CA (sha256:%s) from the one the mesh uses (sha256:%s): restore that one before a replica restarts, which would wait for it; to replace the root, use osm mesh rotate-root",
				s.Secret, s.Found, s.Loaded)
		}
		return fmt.Sprintf("%s holds a different root CA (sha256:%s) from the one this replica loaded (sha256:%s): restore it, or restart the control plane to use the new one",
			s.Provider, s.Found, s.Loaded)
	case RootBroken:
		return fmt.Sprintf("Secret %s holds no usable root CA, serving with the one loaded earlier (sha256:%s): %v", s.Secret, s.Loaded, s.Err)
	case RootMissing:
		return fmt.Sprintf("Secret %s is gone, serving with the root CA loaded earlier (sha256:%s); a replica puts it back within seconds",
			s.Secret, s.Loaded)
	}
	return fmt.Sprintf("root CA in unknown state %q", s.State)
}
