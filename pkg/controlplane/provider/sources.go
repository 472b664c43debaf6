package provider

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/ca/tresor"
	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// builtin is the built-in provider.
type builtin struct {
	cfg   Config
	store tresor.Store
	root  *ca.Root
}

func (c Config) builtin() *builtin {
	return &builtin{cfg: c, store: tresor.Store{
		Client: c.Client, Namespace: c.Namespace, Mesh: c.Mesh, SecretName: c.CASecret, Now: c.Now, Log: c.Log,
	}}
}

func (t *builtin) String() string {
	return "Secret " + t.cfg.Namespace + "/" + cmp.Or(t.cfg.CASecret, api.CABundleSecret)
}

func (t *builtin) load(ctx context.Context, waiting func(string)) (ca.Authority, error) {
	root, err := t.store.Await(ctx, func(fault *ca.RootError) {
		text := fmt.Sprintf("Secret %s/%s: %v", t.cfg.Namespace, cmp.Or(t.cfg.CASecret, api.CABundleSecret), fault)
		waiting(text)
		t.cfg.Log.Error("the root CA cannot be used, waiting until it is repaired", "problem", text)
	})
	if err != nil {
		return nil, err
	}
	t.root = root
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: t.cfg.TrustDomain, Now: t.cfg.Now, Metrics: t.cfg.Metrics})
	if err != nil {
		return nil, fmt.Errorf("sign with the root CA: %w", err)
	}
	return issuer, nil
}

func (t *builtin) run(ctx context.Context) error { return t.store.Watch(ctx, t.root, t.cfg.report) }

// loader is what outside providers are.
type loader interface {
	ca.Authority
	Load(ctx context.Context) error
	Run(ctx context.Context) error
}

// outside is a provider in another process.
type outside struct {
	loader  loader
	name    string
	metrics *ca.Metrics
}

func (o *outside) String() string { return o.name }

func (o *outside) load(ctx context.Context, waiting func(string)) (ca.Authority, error) {
	waiting("waiting for " + o.name + " to sign; the log says what is in the way")
	if err := o.loader.Load(ctx); err != nil {
		return nil, err
	}
	return ca.Measured(o.loader, o.metrics), nil
}

func (o *outside) run(ctx context.Context) error { return o.loader.Run(ctx) }

func (c Config) vault() (source, error) {
	flags := c.Vault
	config := vault.Config{
		Address: flags.Address, Namespace: flags.Namespace, Mount: flags.Mount, Role: flags.Role,
		Login:       vault.Login{Mount: flags.LoginMount, Role: flags.LoginRole, TokenFile: flags.LoginTokenFile},
		Hosts:       c.vaultHosts(),
		TrustDomain: c.TrustDomain, Report: c.report, Now: c.Now, Log: c.Log,
	}
	if flags.CAFile != "" {
		bundle, err := os.ReadFile(flags.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--vault-ca-file: %w", err)
		}
		config.CABundle = bundle
	}
	if flags.TokenFile != "" {
		config.Token = tokenFrom(flags.TokenFile)
	}
	authority, err := vault.New(config)
	if err != nil {
		return nil, err
	}
	return &outside{authority, config.String(), c.Metrics}, nil
}

// tokenFrom reads the token anew each time: whoever made it may replace it.
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

func (c Config) certManager() (source, error) {
	config := certmanager.Config{
		Client: c.Dynamic, Namespace: c.Namespace, Mesh: c.Mesh, TrustDomain: c.TrustDomain,
		Issuer: c.Issuer, Report: c.report, Now: c.Now, Log: c.Log,
	}
	authority, err := certmanager.New(config)
	if err != nil {
		return nil, err
	}
	return &outside{authority, config.String(), c.Metrics}, nil
}
