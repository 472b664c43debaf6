package report

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// Provider is the certificate provider that the mesh in a namespace was installed with, "" without a mesh.
func Provider(ctx context.Context, kube kubernetes.Interface, namespace string) (string, error) {
	d, err := kube.AppsV1().Deployments(namespace).Get(ctx, api.AppController, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read Deployment %s/%s: %w", namespace, api.AppController, err)
	}
	return providerOf(d), nil
}

func providerOf(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.Containers {
		for _, arg := range container.Args {
			if kind, found := strings.CutPrefix(arg, "--certificate-provider="); found {
				return kind
			}
		}
	}
	return ""
}

// signer queries the controllers for their signing root, until one responds.
func (c *Collector) signer(ctx context.Context, r *Report) (err error) {
	if r.Mesh.Provider, err = Provider(ctx, c.Kube, c.Namespace); err != nil {
		return err
	}
	for _, component := range r.Components {
		for _, replica := range component.Replicas {
			if component.Name != api.AppController || !replica.Ready || r.Mesh.Root != "" {
				continue
			}
			metrics, err := c.Fetch(ctx, Endpoint{Namespace: c.Namespace, Pod: replica.Pod, Port: api.PortHTTP, Path: "/metrics"})
			if err == nil { // else the root is missing, and Missing says so
				r.Mesh.Root = rootOf(metrics)
			}
		}
	}
	return nil
}

// rootOf finds the fingerprint among the metrics of a replica.
func rootOf(metrics []byte) string {
	match := regexp.MustCompile(`(?m)^osm_root_info\{fingerprint="([0-9a-f]+)"\} 1$`).FindSubmatch(metrics)
	if match == nil {
		return ""
	}
	return string(match[1])
}
