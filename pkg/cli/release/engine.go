package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/kube"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
)

// unlimited is passed to Helm where it insists on a time limit of its own; the actual limit is the
// context of each operation.
const unlimited = 10 * 365 * 24 * time.Hour

// Engine works on the releases of one namespace.
type Engine struct {
	getter    genericclioptions.RESTClientGetter
	namespace string
	log       Log
	releases  *storage.Storage
	client    kubernetes.Interface
	kube      *kube.Client
	poll      time.Duration
}

// Log receives Helm's log messages, for --verbose.
type Log func(format string, args ...any)

// New returns the engine for a namespace of getter's cluster. It does not connect to the cluster.
// Releases are stored where Helm stores them by default, in Secrets of the namespace.
func New(getter genericclioptions.RESTClientGetter, namespace string, log Log) (*Engine, error) {
	client := kube.New(getter)
	client.Log = log
	client.Namespace = namespace
	clientset, err := client.Factory.KubernetesClientSet()
	if err != nil {
		return nil, fmt.Errorf("read the Kubernetes configuration: %w", err)
	}
	secrets := driver.NewSecrets(clientset.CoreV1().Secrets(namespace))
	secrets.Log = log
	return &Engine{
		getter: getter, namespace: namespace, log: log,
		releases: storage.Init(secrets), client: clientset, kube: client,
		poll: time.Second,
	}, nil
}

// Info describes the last revision of a release.
type Info struct {
	Name         string
	Namespace    string
	Revision     int
	Status       string // as Helm spells it: deployed, failed, pending-install, ...
	Pending      bool   // an operation is under way, or was killed
	EverDeployed bool   // some revision was installed successfully
	Since        time.Time
	ChartVersion string
	AppVersion   string
	Values       Values // what the user set, without the chart's defaults
	Chart        *Chart // the chart that the revision was made from
	Manifest     string
	Rendered     string // the manifest with the hooks, as Render returns it
}

// Deployed is the status of a release whose last operation succeeded.
const Deployed = string(helmrelease.StatusDeployed)

// ErrNotFound means that the namespace has no release of that name.
var ErrNotFound = errors.New("no such release")

// Info returns the state of a release. The error is ErrNotFound if there is none.
func (e *Engine) Info(name string) (*Info, error) {
	last, err := e.releases.Last(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, fmt.Errorf("release %q in namespace %q: %w", name, e.namespace, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read release %q in namespace %q: %w", name, e.namespace, err)
	}
	// The values in force are those of the deployed revision; a failed upgrade never took effect.
	current := last
	deployed, err := e.releases.Deployed(name)
	if err == nil {
		current = deployed
	}
	return describe(last, current, deployed != nil)
}

// describe reads a release. Its Secret may contain anything.
func describe(last, current *helmrelease.Release, everDeployed bool) (*Info, error) {
	if last.Info == nil || current.Chart == nil || current.Chart.Metadata == nil {
		return nil, fmt.Errorf("release %q in namespace %q cannot be read: its record is damaged; look at it with helm history %s -n %s", last.Name, last.Namespace, last.Name, last.Namespace)
	}
	return &Info{
		Name: last.Name, Namespace: last.Namespace, Revision: last.Version,
		Status: last.Info.Status.String(), Pending: last.Info.Status.IsPending(),
		EverDeployed: everDeployed, Since: last.Info.LastDeployed.Time,
		ChartVersion: current.Chart.Metadata.Version, AppVersion: current.Chart.Metadata.AppVersion,
		Values: Values(current.Config), Chart: &Chart{current.Chart}, Manifest: current.Manifest, Rendered: document(current),
	}, nil
}

// Recover turns a release that a killed process left in "pending-*" into a failed one, so that
// the next operation can run. The caller makes sure that no other process is still at work.
func (e *Engine) Recover(name string) error {
	last, err := e.releases.Last(name)
	if err != nil {
		return fmt.Errorf("read release %q in namespace %q: %w", name, e.namespace, err)
	}
	if !last.Info.Status.IsPending() {
		return nil
	}
	last.SetStatus(helmrelease.StatusFailed, "abandoned while "+last.Info.Status.String())
	if err := e.releases.Update(last); err != nil {
		return fmt.Errorf("mark release %q in namespace %q as failed: %w", name, e.namespace, err)
	}
	return nil
}

// config returns a Helm configuration for one release in which all requests and waits end with ctx.
func (e *Engine) config(ctx context.Context, name string, observe Observer, tick func(context.Context)) *action.Configuration {
	return &action.Configuration{
		RESTClientGetter: e.getter,
		Releases:         e.releases,
		KubeClient:       &guard{Client: e.kube, ctx: ctx, wait: waiter{e.client, e.poll, observe, tick, e.log}, name: name, namespace: e.namespace},
		Log:              action.DebugLog(e.log),
		HookOutputFunc:   func(_, _, _ string) io.Writer { return io.Discard },
	}
}
