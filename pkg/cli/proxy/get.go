package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// adminTime limits how long Envoy's admin interface may take to respond.
const adminTime = 30 * time.Second

// maxAnswer limits the size of its response: enough for a configuration with tens of thousands of endpoints.
const maxAnswer = 256 << 20

type options struct {
	env       *command.Env
	namespace string
	file      string
}

// NewGet returns osm proxy get.
func NewGet(env *command.Env) *cobra.Command {
	o := &options{env: env}
	cmd := &cobra.Command{
		Use:   "get QUERY POD",
		Short: "Query the Envoy of a pod",
		Long: `Send a query to the admin interface of a pod's Envoy, such as stats, clusters, ready or config_dump,
and print the response.

The pod is not trusted: redirects are not followed; a response is rejected if it is neither text nor
JSON, takes longer than 30 seconds or is larger than 256 MiB; and on a terminal, control characters
are escaped. Files are readable by their owner only, and symbolic links are not followed.`,
		Example: `  osm proxy get clusters bookbuyer-5c9f8f5b6-2x7lq -n bookbuyer
  osm proxy get 'stats?filter=^cluster' bookbuyer-5c9f8f5b6-2x7lq -n bookbuyer
  osm proxy get config_dump bookbuyer-5c9f8f5b6-2x7lq -n bookbuyer -f dump.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := o.query(cmd.Context(), args[1], args[0])
			if err != nil {
				return err
			}
			return o.write(body)
		},
	}
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", metav1.NamespaceDefault, "namespace of the pod")
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "write the response to a file that only you may read; an existing file is replaced")
	return cmd
}

func (o *options) write(body []byte) error {
	if o.file == "" && o.env.Terminal() {
		body = []byte(output.Text(string(body)))
	}
	if o.file == "" {
		_, err := o.env.Out.Write(body)
		return err
	}
	if err := output.WriteFile(o.file, body); err != nil {
		return fmt.Errorf("write the response: %w", err)
	}
	return nil
}

// query queries the admin interface of a pod's Envoy through a port-forward, because it listens on the
// pod's loopback interface only.
func (o *options) query(ctx context.Context, pod, query string) ([]byte, error) {
	if err := o.meshed(ctx, pod); err != nil {
		return nil, err
	}
	address, stop, err := o.env.Forward(ctx, o.namespace, pod, api.PortEnvoyAdmin)
	if err != nil {
		return nil, err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	answer, err := cluster.Ask(ctx, address, query, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: %w", o.namespace, pod, query, err)
	}
	if answer.Status != http.StatusOK {
		said := strings.TrimSpace(string(answer.Body[:min(len(answer.Body), 1<<10)]))
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: %s: %s", o.namespace, pod, query, answer.StatusLine(), said)
	}
	if !slices.Contains([]string{"", "text/plain", "application/json"}, answer.Type) {
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: the response is %q, neither text nor JSON; osm proxy get help %s lists the valid queries", o.namespace, pod, query, answer.Type, pod)
	}
	return answer.Body, nil
}

func (o *options) meshed(ctx context.Context, name string) error {
	clients, err := o.env.Connect(ctx)
	if err != nil {
		return err
	}
	pod, err := clients.Kube.CoreV1().Pods(o.namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("pod %s/%s does not exist; give its namespace with -n", o.namespace, name)
	case err != nil:
		return fmt.Errorf("read pod %s/%s: %w", o.namespace, name, err)
	case pod.Labels[api.LabelProxyUUID] == "":
		return fmt.Errorf("pod %s/%s is not part of a mesh: it has no sidecar; add its namespace with osm namespace add, then restart the pod", o.namespace, name)
	case pod.Status.Phase != corev1.PodRunning && !sidecarRuns(pod):
		return fmt.Errorf("pod %s/%s is not running: phase %s", o.namespace, name, pod.Status.Phase)
	}
	return nil
}

// sidecarRuns reports whether the native sidecar is running. It starts long before the pod does, and
// when a pod hangs during startup, its proxy is worth a look.
func sidecarRuns(pod *corev1.Pod) bool {
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == api.ContainerEnvoy {
			return status.State.Running != nil
		}
	}
	return false
}
