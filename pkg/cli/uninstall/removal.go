package uninstall

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/namespace"
	"github.com/osm-edge/osm/pkg/cli/release"
)

// removal removes a mesh from a cluster, in an order that harms nothing that still runs: first the
// webhook, so that pods can be created again, then the membership of namespaces, then the release,
// then what the control plane created at run time.
type removal struct {
	env         *command.Env
	clients     *cluster.Clients
	engine      *release.Engine
	mesh        cluster.Mesh
	info        *release.Info // nil if the mesh has no release
	clusterWide bool

	objects []cluster.Object // everything with the mesh's name, as found
	members []string         // namespaces labelled with the mesh's name
	shared  bool             // another namespace has a mesh of the same name
}

func (r *removal) run(ctx context.Context) error {
	steps := []func(context.Context) error{r.webhook, r.leave, r.release, r.leftovers}
	if r.clusterWide {
		steps = append(steps, r.customResources)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// webhook deletes the MutatingWebhookConfiguration with the mesh's name if it calls the injectors of
// this mesh.
func (r *removal) webhook(ctx context.Context) error {
	name := api.WebhookConfigName(r.mesh.Name)
	configurations := r.clients.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration, err := configurations.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read MutatingWebhookConfiguration %s: %w", name, err)
	}
	other := cluster.OwnerOf(configuration).Other(r.mesh.Name, r.mesh.Namespace)
	for _, webhook := range configuration.Webhooks {
		if service := webhook.ClientConfig.Service; other == "" && service != nil && service.Namespace != r.mesh.Namespace {
			other = fmt.Sprintf("the mesh in namespace [%s]", service.Namespace)
		}
	}
	if other != "" {
		r.env.Warnf("not deleting MutatingWebhookConfiguration %s: it belongs to %s", name, other)
		return nil
	}
	same := metav1.Preconditions{UID: &configuration.UID}
	if err := configurations.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &same}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete MutatingWebhookConfiguration %s: %w", name, err)
	}
	return nil
}

// leave removes the mesh's labels from its member namespaces.
func (r *removal) leave(ctx context.Context) error {
	if r.shared && len(r.members) > 0 {
		r.env.Warnf("keeping the labels of namespaces %s: another namespace has a mesh [%s] too, and the labels do not say which of the two is meant", strings.Join(r.members, ", "), r.mesh.Name)
		return nil
	}
	for _, member := range r.members {
		if err := namespace.Leave(ctx, r.clients.Kube, member); err != nil {
			return err
		}
		r.env.Progressf("namespace [%s] removed from mesh [%s]\n", member, r.mesh.Name)
	}
	return nil
}

func (r *removal) release(ctx context.Context) error {
	if r.info == nil {
		return nil
	}
	r.env.Progressf("removing the control plane from namespace [%s]\n", r.mesh.Namespace)
	return r.engine.Uninstall(ctx, r.mesh.Name)
}

func (r *removal) remove(ctx context.Context, object cluster.Object) error {
	background := metav1.DeletePropagationBackground
	err := r.clients.Metadata.Resource(object.Resource).Namespace(object.Namespace).
		Delete(ctx, object.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", object, err)
	}
	r.env.Progressf("deleted %s\n", object)
	return nil
}

func (r *removal) namespace(ctx context.Context) error {
	err := r.clients.Kube.CoreV1().Namespaces().Delete(ctx, r.mesh.Namespace, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		r.env.Printf("OSM namespace [%s] not found\n", r.mesh.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete namespace [%s]: %w", r.mesh.Namespace, err)
	}
	r.env.Printf("OSM namespace [%s] deleted successfully\n", r.mesh.Namespace)
	return nil
}
