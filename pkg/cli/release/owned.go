package release

import (
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// Helm finds the objects of a release by their names. The names of cluster-wide objects contain only the
// mesh's name, so two releases of one name in two namespaces mean the same objects. Helm checks the
// owner of an object only before it creates one, and never for hooks. This file checks it before every
// deletion and every update.

// others are the existing objects that belong to another owner, with the owner.
func (g *guard) others(resources kube.ResourceList) (map[string]string, error) {
	others := map[string]string{}
	for _, info := range resources {
		object, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look whose %s is: %w", title(info), err)
		}
		accessor, err := meta.Accessor(object)
		if err != nil {
			return nil, fmt.Errorf("look whose %s is: %w", title(info), err)
		}
		if other := cluster.OwnerOf(accessor).Other(g.name, g.namespace); other != "" {
			others[title(info)] = other
		}
	}
	return others, nil
}

func title(info *resource.Info) string {
	name := info.Name
	if info.Namespace != "" {
		name = info.Namespace + "/" + name
	}
	return info.Mapping.GroupVersionKind.Kind + " " + name
}

// Delete is called by Helm before a hook runs and to remove it. It deletes all objects or none.
func (g *guard) Delete(resources kube.ResourceList) (*kube.Result, []error) {
	others, err := g.others(resources)
	if err != nil {
		return nil, []error{err}
	}
	if len(others) > 0 {
		return nil, []error{refused(others)}
	}
	return g.Client.Delete(resources)
}

// DeleteWithPropagationPolicy is called by Helm to remove a release. It skips the objects of other
// owners; otherwise the release could never be removed.
func (g *guard) DeleteWithPropagationPolicy(resources kube.ResourceList, policy metav1.DeletionPropagation) (*kube.Result, []error) {
	others, err := g.others(resources)
	if err != nil {
		return nil, []error{err}
	}
	mine := resources.Filter(func(info *resource.Info) bool {
		other, spared := others[title(info)]
		if spared {
			g.wait.log("%s is left alone: it belongs to %s", title(info), other)
		}
		return !spared
	})
	return g.Client.DeleteWithPropagationPolicy(mine, policy)
}

// Update updates the target objects and deletes the original ones that are not among them.
func (g *guard) Update(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	if err := g.ended(); err != nil {
		return &kube.Result{}, err
	}
	others, err := g.others(target)
	if err == nil && len(others) > 0 {
		err = refused(others)
	}
	if err != nil {
		return &kube.Result{}, err
	}
	dropped, err := g.others(original.Difference(target))
	if err != nil {
		return &kube.Result{}, err
	}
	original = original.Filter(func(info *resource.Info) bool { return dropped[title(info)] == "" })
	if err := g.handOver(original, target); err != nil {
		return &kube.Result{}, err
	}
	return g.Client.Update(original, target, force)
}

func refused(others map[string]string) error {
	var errs []error
	for object, owner := range others {
		errs = append(errs, fmt.Errorf("%s belongs to %s and was not touched", object, owner))
	}
	return errors.Join(errs...)
}
