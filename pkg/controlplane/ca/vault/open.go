package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca/source"
)

// Open opens the Vault of a spec.
func (f *Flags) Open(spec v1alpha2.ProviderSpec, env source.Env) (source.Source, error) {
	config, err := f.config(*spec.Vault)
	if err != nil {
		return nil, err
	}
	config.TrustDomain, config.Report, config.Now, config.Log = env.TrustDomain, env.Report, env.Now, env.Log
	authority, err := New(config)
	if err != nil {
		return nil, err
	}
	return source.Remote(authority, config.String(), env.Metrics), nil
}

// config combines the spec with the flags. Files come from the flags alone.
func (f *Flags) config(spec v1alpha2.VaultProviderSpec) (Config, error) {
	flags := f.withDefaults()
	config := Config{
		Address: spec.Address(), Role: spec.Role, Namespace: flags.Namespace, Mount: flags.Mount, Hosts: flags.hosts(),
		Login: Login{Mount: flags.LoginMount, Role: flags.LoginRole, TokenFile: flags.LoginTokenFile},
	}
	if flags.CAFile != "" && spec.Protocol != "http" {
		bundle, err := os.ReadFile(flags.CAFile)
		if err != nil {
			return Config{}, fmt.Errorf("--vault-ca-file: %w", err)
		}
		config.CABundle = bundle
	}
	if spec.Token != nil {
		config.Token = tokenFrom(flags.TokenFile)
	}
	return config, nil
}

// tokenFrom reads the token each time, because it may have been replaced.
func tokenFrom(file string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		text, err := os.ReadFile(file) //nolint:gosec // the file that a flag names
		if err != nil {
			return "", fmt.Errorf("--vault-token-file: %w", err)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			return "", errors.New("--vault-token-file " + file + " is empty: write a token into it")
		}
		return string(text), nil
	}
}
