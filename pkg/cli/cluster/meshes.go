package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// Mesh is one mesh of a cluster, as its controller's Deployment shows it.
type Mesh struct {
	Name          string   `json:"name"`
	Namespace     string   `json:"namespace"`
	Version       string   `json:"version"`
	EnforceSingle bool     `json:"enforceSingleMesh"`
	Namespaces    []string `json:"addedNamespaces"` // sorted; filled in by WithNamespaces
	// Foreign marks a mesh of Open Service Mesh or osm-edge, whose objects have the same names.
	Foreign bool `json:"foreign,omitempty"`
}

// Meshes lists the meshes of the cluster, sorted by namespace and name.
func Meshes(ctx context.Context, client kubernetes.Interface) ([]Mesh, error) {
	controllers, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		LabelSelector: api.LabelApp + "=" + api.AppController,
	})
	if err != nil {
		return nil, fmt.Errorf("list the meshes of the cluster (Deployments with label %s=%s): %w", api.LabelApp, api.AppController, err)
	}
	meshes := make([]Mesh, 0, len(controllers.Items))
	for i := range controllers.Items {
		meshes = append(meshes, mesh(&controllers.Items[i]))
	}
	slices.SortFunc(meshes, func(a, b Mesh) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return meshes, nil
}

func mesh(controller *appsv1.Deployment) Mesh {
	return Mesh{
		Name:          controller.Labels[api.LabelMeshName],
		Namespace:     controller.Namespace,
		Version:       cmp.Or(controller.Labels[api.LabelVersion], "Unknown"),
		EnforceSingle: controller.Labels[api.LabelEnforceOne] == "true",
		Namespaces:    []string{},
		Foreign:       foreign(controller),
	}
}

// foreign reports whether a controller is not this osm's, whose image has one program and needs no command.
func foreign(controller *appsv1.Deployment) bool {
	return slices.ContainsFunc(controller.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
		return len(c.Command) > 0 && strings.HasSuffix(c.Command[0], "-controller")
	})
}

// WithNamespaces fills in the member namespaces of every mesh.
func WithNamespaces(ctx context.Context, client kubernetes.Interface, meshes []Mesh) error {
	members, err := Members(ctx, client, "")
	if err != nil {
		return err
	}
	for i := range meshes {
		for _, namespace := range members {
			if namespace.Labels[api.LabelMonitoredBy] == meshes[i].Name {
				meshes[i].Namespaces = append(meshes[i].Namespaces, namespace.Name)
			}
		}
	}
	return nil
}

// Members lists the namespaces of a mesh, or of all meshes if the name is empty, sorted by name.
func Members(ctx context.Context, client kubernetes.Interface, mesh string) ([]corev1.Namespace, error) {
	selector := api.LabelMonitoredBy
	if mesh != "" {
		selector += "=" + mesh
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the namespaces with label %s: %w", selector, err)
	}
	slices.SortFunc(namespaces.Items, func(a, b corev1.Namespace) int { return cmp.Compare(a.Name, b.Name) })
	return namespaces.Items, nil
}

// NamespaceExists reports whether a namespace exists.
func NamespaceExists(ctx context.Context, client kubernetes.Interface, name string) (bool, error) {
	_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for namespace %q: %w", name, err)
	}
	return true, nil
}
