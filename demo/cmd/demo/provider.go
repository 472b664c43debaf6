package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osm-edge/osm/demo/provider"
	"github.com/osm-edge/osm/demo/report"
	"github.com/osm-edge/osm/demo/stage"
	"github.com/osm-edge/osm/pkg/api"
)

func (r *root) providerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "Certificate providers for a cluster that has none"}
	cmd.AddCommand(r.providerDeployCommand(), r.providerShowCommand())
	return cmd
}

// providerOptions are the flags of `demo provider deploy`.
type providerOptions struct{ image, definitions string }

func (r *root) providerDeployCommand() *cobra.Command {
	var o providerOptions
	cmd := &cobra.Command{
		Use:       "deploy KIND",
		Short:     "Deploy a certificate provider, wait until it can sign, and print the chart values that name it",
		ValidArgs: provider.Kinds(),
		Args:      cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.deployProvider(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.image, "image", "", "reference of the provider's image, as bin/images printed it")
	cmd.Flags().StringVar(&o.definitions, "definitions", "", "file with cert-manager's CustomResourceDefinitions")
	return cmd
}

func (r *root) deployProvider(ctx context.Context, kind string, o providerOptions) error {
	s, err := r.stage()
	if err != nil {
		return err
	}
	deployment, err := newDeployment(ctx, s, kind, o)
	if err != nil {
		return err
	}
	if err := deployment.Start(ctx, s, r.timeout); err != nil {
		return err
	}
	return deployment.WriteValues(r.stdout)
}

func newDeployment(ctx context.Context, s *stage.Stage, kind string, o providerOptions) (*provider.Deployment, error) {
	switch kind {
	case provider.KindTresor:
		return provider.Tresor(), nil
	case provider.KindVault:
		return provider.Vault(ctx, s.Kube, o.image, time.Now())
	case provider.KindCertManager:
		definitions, err := os.ReadFile(o.definitions)
		if err != nil {
			return nil, fmt.Errorf("read cert-manager's definitions: %w", err)
		}
		return provider.CertManager(o.image, definitions)
	}
	return nil, fmt.Errorf("no provider %q: choose from %s", kind, strings.Join(provider.Kinds(), ", "))
}

func (r *root) providerShowCommand() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print which provider the mesh was installed with, or nothing when there is no mesh",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := r.stage()
			if err != nil {
				return err
			}
			kind, err := report.Provider(cmd.Context(), s.Kube, namespace)
			if err != nil || kind == "" {
				return err
			}
			_, err = fmt.Fprintln(r.stdout, kind)
			return err
		},
	}
	cmd.Flags().StringVar(&namespace, "osm-namespace", api.DefaultNamespace, "namespace of the control plane")
	return cmd
}
