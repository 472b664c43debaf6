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
)

// NewRoot holds the checks of the provider of a root that a mesh is to rotate to.
type NewRoot struct {
	Namespace string // of the mesh
	Provider  v1alpha2.ProviderSpec
	// Fix is the command that gives the control plane the permissions that the provider needs.
	Fix string
}

// Checks returns the checks, in order.
func (n NewRoot) Checks(clients *cluster.Clients) []Check {
	p := preflight{Clients: clients, plan: Plan{Namespace: n.Namespace, Provider: n.Provider}, newRoot: true}
	rights := func(ctx context.Context) error { return n.rights(ctx, clients) }
	return []Check{
		{CertProvider, "the certificate provider is available, as far as can be checked from here", true, quiet(p.provider)},
		{ProviderRights, "the control plane has the permissions that the certificate provider needs", false, quiet(rights)},
	}
}

// needed is the permission without which the provider cannot sign; an empty verb means none.
func (n NewRoot) needed() question {
	switch {
	case n.Provider.CertManager != nil:
		return question{Verb: "create", Group: certManagerGroup, Resource: "certificaterequests", Namespace: n.Namespace}
	case n.Provider.Tresor != nil:
		return question{Verb: "get", Resource: "secrets", Name: n.Provider.Tresor.CA.SecretRef.Name, Namespace: n.Namespace}
	}
	return question{} // Vault: a token comes as a file, and the login needs no permission in the cluster
}

// rights asks the API server what the controller may do. The injector holds no root, so it needs none.
func (n NewRoot) rights(ctx context.Context, clients *cluster.Clients) error {
	needed := n.needed()
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
