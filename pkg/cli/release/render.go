package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"
)

// Render returns the release's manifests as `helm template` prints them, hooks last. It needs no
// cluster: kubeVersion (such as "1.31") stands in for the cluster's.
func Render(request Request, namespace, kubeVersion string) (string, error) {
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return "", fmt.Errorf("parse Kubernetes version %q: %w", kubeVersion, err)
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.ClientOnly, install.DryRun, install.Replace = true, true, true
	install.ReleaseName, install.Namespace, install.KubeVersion = request.Name, namespace, version
	rendered, err := install.Run(request.Chart.chart, request.Values)
	if err != nil {
		if refused := (TemplateError{}); errors.As(plain(context.Background(), err), &refused) {
			return "", refused
		}
		return "", fmt.Errorf("render the chart: %w", err)
	}
	return document(rendered), nil
}

func document(rel *helmrelease.Release) string {
	var out strings.Builder
	out.WriteString(strings.TrimSpace(rel.Manifest))
	out.WriteString("\n")
	for _, hook := range rel.Hooks {
		if hook == nil {
			continue // a stored release may contain anything
		}
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", hook.Path, hook.Manifest)
	}
	return out.String()
}

// Object names one object of a rendered chart.
type Object struct {
	APIVersion, Kind, Namespace, Name string

	Hook   bool           // part of a hook, which Helm makes anew each time
	Fields map[string]any // all of it
}

// Objects lists the objects of a rendered document, in its order.
func Objects(document string) ([]Object, error) {
	parsed, err := parse(document)
	if err != nil {
		return nil, err
	}
	objects := make([]Object, 0, len(parsed))
	for _, object := range parsed {
		objects = append(objects, Object{
			object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName(), isHook(&object), object.Object,
		})
	}
	return objects, nil
}

func isHook(object metav1.Object) bool {
	return object.GetAnnotations()[helmrelease.HookAnnotation] != ""
}

func parse(document string) ([]unstructured.Unstructured, error) {
	split := releaseutil.SplitManifests(document)
	var objects []unstructured.Unstructured
	for i := range len(split) {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(split[fmt.Sprintf("manifest-%d", i)]), &object.Object); err != nil {
			return nil, fmt.Errorf("read the rendered chart: %w", err)
		}
		if object.GetKind() != "" {
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// tryObjects applies every object of a document as a server-side dry run.
func (e *Engine) tryObjects(ctx context.Context, document string) (untried int, err error) {
	infos, err := e.kube.Build(strings.NewReader(document), true)
	if err != nil {
		return 0, err
	}
	var failures []error
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		switch _, err := try(info); {
		case missingNamespace(err, info):
			untried++
		case err != nil:
			failures = append(failures, fmt.Errorf("%s %q: %w", info.Mapping.GroupVersionKind.Kind, info.Name, err))
		}
	}
	return untried, errors.Join(failures...)
}

// try applies an object as a server-side dry run and returns what would be stored.
func try(info *resource.Info) (runtime.Object, error) {
	data, err := json.Marshal(info.Object)
	if err != nil {
		return nil, err
	}
	force := true
	helper := resource.NewHelper(info.Client, info.Mapping).DryRun(true).WithFieldManager("osm")
	return helper.Patch(info.Namespace, info.Name, types.ApplyPatchType, data, &metav1.PatchOptions{Force: &force})
}

func missingNamespace(err error, info *resource.Info) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces" && details.Name == info.Namespace
}

// TemplateError is the message with which the chart refuses a combination of values.
type TemplateError struct{ message string }

func (e TemplateError) Error() string { return e.message }

// templateNoise is what Helm puts around the message of a template's fail function.
var templateNoise = regexp.MustCompile(`(?s)^.*execution error at \([^)]*\): `)

// plain simplifies Helm's errors: the reason why ctx ended instead of "context canceled", and a
// template's own message without the trace.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !strings.Contains(err.Error(), cause.Error()) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	if text := err.Error(); templateNoise.MatchString(text) {
		return TemplateError{templateNoise.ReplaceAllString(text, "")}
	}
	return err
}
