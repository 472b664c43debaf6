package check

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

// definitions checks whether existing CRDs may be replaced. The install hook checks it again.
func (p preflight) definitions(ctx context.Context) error {
	if p.plan.SkipHooks {
		return nil
	}
	all, err := crds.All()
	if err != nil {
		return err
	}
	var conflicts []error
	for _, ours := range all {
		present, err := p.Definition(ctx, ours.Name)
		if apierrors.IsForbidden(err) {
			return Warning(fmt.Errorf("cannot tell who owns the CRDs of the cluster; the install hook checks it again: %w", err))
		}
		if err != nil {
			return err
		}
		if present != nil {
			conflicts = append(conflicts, crds.Conflict(present, ours))
		}
	}
	return errors.Join(conflicts...)
}

// owners refuses to overwrite objects of another mesh or of an unknown owner. Meshes of one name in two
// namespaces have the same cluster-wide objects.
func (p preflight) owners(ctx context.Context) error {
	mapper, err := p.mapper()
	if err != nil {
		return err
	}
	faults := make([]error, len(p.plan.Objects))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, object := range p.plan.Objects {
		if object.Name == "" || (object.Hook && p.plan.SkipHooks) {
			continue
		}
		where, err := p.resource(mapper, object)
		if errors.As(err, new(unknownKindError)) {
			continue // reported by permissions
		}
		if err != nil {
			return err
		}
		group.Go(func() error {
			var err error
			faults[i], err = p.taken(ctx, where, object)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(slices.DeleteFunc(faults, func(err error) bool { return err == nil })...)
}

// taken returns a fault if an object of the chart must not be written.
func (p preflight) taken(ctx context.Context, where question, object Object) (fault, err error) {
	version, err := schema.ParseGroupVersion(object.APIVersion)
	if err != nil {
		return nil, err
	}
	present, err := p.Metadata.Resource(version.WithResource(where.Resource)).Namespace(where.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // permissions are checked elsewhere
		return nil, nil //nolint:nilnil // there is no fault, and no error
	}
	if err != nil {
		return nil, fmt.Errorf("read the owner of %s %s: %w", object.Kind, object.Name, err)
	}
	owner, remove := cluster.OwnerOf(present), fmt.Sprintf("osm uninstall mesh --mesh-name %s --osm-namespace %s", p.plan.Mesh, p.plan.Namespace)
	if other := owner.Other(p.plan.Mesh, p.plan.Namespace); other != "" {
		if owner.Namespace() != p.plan.Namespace {
			remove = fmt.Sprintf("osm uninstall mesh --mesh-name %s --osm-namespace %s", p.plan.Mesh, owner.Namespace())
		}
		return fmt.Errorf("%s %s belongs to %s; choose another name for this mesh with --mesh-name, or remove that one first if it is no longer needed: %s", object.Kind, object.Name, other, remove), nil
	}
	// Helm refuses to adopt objects without a release; its message is less clear.
	if p.plan.Release == nil && !object.Hook && owner.Release == "" {
		return fmt.Errorf("%s %s exists and belongs to no Helm release; if an earlier installation left it behind, remove that installation first: %s", object.Kind, object.Name, remove), nil
	}
	return nil, nil //nolint:nilnil // there is no fault, and no error
}
