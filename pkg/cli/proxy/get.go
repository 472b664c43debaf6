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
	selector  string
	file      string
}

// NewGet returns osm proxy get.
func NewGet(env *command.Env) *cobra.Command {
	o := &options{env: env}
	cmd := &cobra.Command{
		Use:   "get QUERY [POD]",
		Short: "Query the Envoy of a pod",
		Long: `Send a query to the admin interface of a pod's Envoy, such as stats, clusters, ready or config_dump,
and print the response.

` + targetHelp + `

The pod is not trusted: redirects are not followed; a response is rejected if it is neither text nor
JSON, takes longer than 30 seconds or is larger than 256 MiB; and on a terminal, control characters
are escaped. Files are readable by their owner only, and symbolic links are not followed.`,
		Example: `  osm proxy get clusters bookbuyer-5c9f8f5b6-2x7lq -n bookbuyer
  osm proxy get 'stats?filter=^cluster' deploy/bookbuyer -n bookbuyer
  osm proxy get ready -l app=bookbuyer -n bookbuyer
  osm proxy get config_dump deploy/bookbuyer -n bookbuyer --file dump.json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := o.target(cmd, args[1:])
			if err != nil {
				return err
			}
			pod, err := o.choose(cmd.Context(), target)
			if err != nil {
				return err
			}
			body, err := o.query(cmd.Context(), pod, args[0])
			if err != nil {
				return err
			}
			return o.write(body)
		},
	}
	o.addTargetFlags(cmd)
	cmd.Flags().StringVar(&o.file, "file", "", "write the response to a file that only you may read; an existing file is replaced")
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
func (o *options) query(ctx context.Context, pod *corev1.Pod, query string) ([]byte, error) {
	address, stop, err := o.env.Forward(ctx, pod.Namespace, pod.Name, api.PortEnvoyAdmin)
	if err != nil {
		return nil, err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	answer, err := cluster.Ask(ctx, address, query, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: %w", pod.Namespace, pod.Name, query, err)
	}
	if answer.Status != http.StatusOK {
		said := strings.TrimSpace(string(answer.Body[:min(len(answer.Body), 1<<10)]))
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: %s: %s", pod.Namespace, pod.Name, query, answer.StatusLine(), said)
	}
	if !slices.Contains([]string{"", "text/plain", "application/json"}, answer.Type) {
		return nil, fmt.Errorf("query Envoy of pod %s/%s for %q: the response is %q, neither text nor JSON; osm proxy get help %s -n %s lists the valid queries", pod.Namespace, pod.Name, query, answer.Type, pod.Name, pod.Namespace)
	}
	return answer.Body, nil
}
