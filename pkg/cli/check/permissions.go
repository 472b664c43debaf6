package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/restmapper"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// Need is a permission that a command needs. An object without a name means all objects of the kind.
type Need struct {
	Verb   string
	Object Object
}

// Permitted returns an error that names every missing permission. Commands call it before their first
// change, so that none stops halfway.
func Permitted(ctx context.Context, clients *cluster.Clients, needs []Need) error {
	p := preflight{Clients: clients}
	mapper, err := p.mapper()
	if err != nil {
		return err
	}
	wanted := map[question]bool{}
	for _, need := range needs {
		q, err := p.resource(mapper, need.Object)
		if errors.As(err, new(unknownKindError)) {
			continue // so there are no such objects
		}
		if err != nil {
			return err
		}
		q.Verb, q.Name = need.Verb, need.Object.Name
		wanted[q] = true
	}
	return p.ask(ctx, sorted(wanted))
}

// permissions asks the API server, once per kind, namespace and verb, whether the user has the
// permissions that the plan needs, with SelfSubjectAccessReviews, which every user may create.
func (p preflight) permissions(ctx context.Context) error {
	questions, err := p.questions()
	if err != nil {
		return err
	}
	return p.ask(ctx, questions)
}

func (p preflight) ask(ctx context.Context, questions []question) error {
	refused := make([]string, len(questions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, question := range questions {
		group.Go(func() error {
			err := p.may(ctx, question)
			if errors.Is(err, errNotAllowed) {
				refused[i] = describe(question)
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	refused = slices.Compact(slices.DeleteFunc(refused, func(s string) bool { return s == "" }))
	if len(refused) > 0 {
		return fmt.Errorf("you are not allowed to %s; ask the cluster's administrator for these permissions, or to run this command", strings.Join(refused, ", "))
	}
	return nil
}

type question = authorizationv1.ResourceAttributes

// questions lists the permissions that the plan needs, each once, sorted.
func (p preflight) questions() ([]question, error) {
	mapper, err := p.mapper()
	if err != nil {
		return nil, err
	}
	wanted := map[question]bool{}
	want := func(object Object, verbs ...string) error {
		q, err := p.resource(mapper, object)
		for _, verb := range verbs {
			q.Verb = verb
			wanted[q] = true
		}
		return err
	}
	// Helm stores releases in Secrets of the mesh's namespace.
	if err := want(Object{APIVersion: "v1", Kind: "Secret", Namespace: p.plan.Namespace}, "create", "get", "list", "update", "delete"); err != nil {
		return nil, err
	}
	for _, object := range p.plan.Objects {
		if object.Hook && p.plan.SkipHooks {
			continue
		}
		verbs := []string{"create", "get"}
		if object.Hook {
			verbs = append(verbs, "delete") // it is created again each time
		} else if p.plan.Upgrade {
			verbs = append(verbs, "patch", "delete")
		}
		if err := want(object, verbs...); err != nil {
			return nil, err
		}
	}
	return sorted(wanted), nil
}

func (p preflight) mapper() (meta.RESTMapper, error) {
	groups, err := restmapper.GetAPIGroupResources(p.Discovery)
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	return restmapper.NewDiscoveryRESTMapper(groups), nil
}

func sorted(wanted map[question]bool) []question {
	questions := make([]question, 0, len(wanted))
	for q := range wanted {
		questions = append(questions, q)
	}
	slices.SortFunc(questions, func(a, b question) int { return strings.Compare(describe(a), describe(b)) })
	return questions
}

// unknownKindError is a kind that the cluster does not serve.
type unknownKindError struct{ error }

func (p preflight) resource(mapper meta.RESTMapper, object Object) (question, error) {
	version, err := schema.ParseGroupVersion(object.APIVersion)
	if err != nil {
		return question{}, fmt.Errorf("read apiVersion %q of a %s in the chart: %w", object.APIVersion, object.Kind, err)
	}
	mapping, err := mapper.RESTMapping(version.WithKind(object.Kind).GroupKind(), version.Version)
	if meta.IsNoMatchError(err) {
		return question{}, unknownKindError{fmt.Errorf("the cluster does not know %s in %s, which the chart needs; it is part of Kubernetes %s", object.Kind, object.APIVersion, MinKubernetes)}
	}
	if err != nil {
		return question{}, fmt.Errorf("look up %s in %s: %w", object.Kind, object.APIVersion, err)
	}
	q := question{Group: mapping.Resource.Group, Resource: mapping.Resource.Resource}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		q.Namespace = object.Namespace
		if q.Namespace == "" {
			q.Namespace = p.plan.Namespace
		}
	}
	return q, nil
}

func (p preflight) may(ctx context.Context, q question) error {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &q}}
	answer, err := p.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask whether you may %s: %w", describe(q), err)
	}
	if !answer.Status.Allowed {
		return errNotAllowed
	}
	return nil
}

func describe(q question) string {
	resource := q.Resource
	if q.Group != "" {
		resource += "." + q.Group
	}
	if q.Name != "" {
		resource += " " + q.Name
	}
	if q.Namespace == "" {
		return q.Verb + " " + resource
	}
	return q.Verb + " " + resource + " in namespace " + q.Namespace
}
