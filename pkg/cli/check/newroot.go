package check

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/provider"
)

// NewRoot holds the checks for the provider of a root that a mesh will rotate to.
type NewRoot struct {
	Namespace string // of the mesh
	Provider  v1alpha2.ProviderSpec
	// Fix is the command that gives the control plane the permissions that the provider needs.
	Fix string
}

// Checks returns the checks, in order.
func (n NewRoot) Checks(clients *cluster.Clients) []Check {
	target := provider.Target{Spec: n.Provider, Namespace: n.Namespace, Rotation: true}
	available := func(ctx context.Context) error {
		return withWarning(provider.Of(n.Provider).Check(ctx, clients, target))
	}
	rights := func(ctx context.Context) error { return n.rights(ctx, clients, target) }
	return []Check{
		{CertProvider, "the certificate provider is available, as far as can be checked from here", true, quiet(available)},
		{ProviderRights, "the control plane has the permissions that the certificate provider needs", false, quiet(rights)},
	}
}

// rights asks the API server what the controller may do. The injector holds no root, so it needs none.
func (n NewRoot) rights(ctx context.Context, clients *cluster.Clients, target provider.Target) error {
	needed := provider.Of(n.Provider).Permission(target)
	if needed.Verb == "" {
		return nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               fmt.Sprintf("system:serviceaccount:%s:%s", n.Namespace, api.AppController),
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + n.Namespace, "system:authenticated"},
		ResourceAttributes: &needed,
	}}
	answer, err := clients.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	what := describe(needed)
	if needed.Name != "" {
		what = fmt.Sprintf("%s Secret %s in namespace %s", needed.Verb, needed.Name, n.Namespace)
	}
	switch {
	case apierrors.IsForbidden(err):
		return Warning(fmt.Errorf("cannot check whether %s may %s: you are not allowed to create SubjectAccessReviews", api.AppController, what))
	case err != nil:
		return fmt.Errorf("ask whether %s may %s: %w", api.AppController, what, err)
	case !answer.Status.Allowed:
		return fmt.Errorf("%s is not allowed to %s, so it could not sign with that root; grant the permission first: %s", api.AppController, what, n.Fix)
	}
	return nil
}
