package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/osm-edge/osm/pkg/cli/suggest"
)

// kubernetesDefault is the server that client-go assumes if no configuration names one. No cluster of today is there,
// so it is an error here, not an address to try.
const kubernetesDefault = "http://localhost:8080"

// maxContexts limits how many contexts an error lists.
const maxContexts = 8

// kubeconfig is what the flags and $KUBECONFIG lead to.
type kubeconfig struct {
	files    []string // that were looked for, in order
	explicit bool     // --kubeconfig names the file
	context  string   // in use; "" if there is none
	chosen   bool     // --context names the context
	raw      clientcmdapi.Config
}

// readConfig returns the configuration that the flags and $KUBECONFIG lead to, or that of the pod that osm runs in, and
// a phrase that names its source. Errors name the file, the context and the fix.
func readConfig(flags *genericclioptions.ConfigFlags) (*rest.Config, string, error) {
	loader := flags.ToRawKubeConfigLoader()
	access := loader.ConfigAccess()
	k := kubeconfig{files: slices.DeleteFunc(access.GetLoadingPrecedence(), func(file string) bool { return file == "" }), explicit: access.IsExplicitFile()}
	var err error
	if k.raw, err = loader.RawConfig(); err != nil {
		return nil, "", k.unreadable(err)
	}
	k.context = k.raw.CurrentContext
	if named := deref(flags.Context); named != "" {
		k.context, k.chosen = named, true
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, "", k.unusable(err)
	}
	if config.Host == kubernetesDefault && deref(flags.APIServer) == "" && os.Getenv("KUBERNETES_MASTER") == "" {
		if err := k.names(); err != nil {
			return nil, "", err
		}
	}
	return config, k.source(config), nil
}

func deref(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

// unreadable is the error of files that do not exist or are no kubeconfig. client-go's error names the file.
func (k *kubeconfig) unreadable(err error) error {
	if k.explicit && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kubeconfig %s (--kubeconfig) does not exist; name an existing file", k.files[0])
	}
	return fmt.Errorf("cannot read the kubeconfig: %w; repair the file, or name another one %s", err, k.where())
}

// unusable is the error of a context that cannot be used as it is.
func (k *kubeconfig) unusable(err error) error {
	if clientcmdapi.IsConfigEmpty(&k.raw) && !k.chosen {
		return fmt.Errorf("cannot use the ServiceAccount of this pod: %w; repair it, or name a kubeconfig %s", err, k.where())
	}
	if err := k.names(); err != nil {
		return err
	}
	return fmt.Errorf("%s cannot be used: %w; repair it, or choose another --context%s", k.phrase(), err, k.others())
}

// names refuses a configuration that names no server, with the first link that is missing: file, context, cluster,
// server.
func (k *kubeconfig) names() error {
	if clientcmdapi.IsConfigEmpty(&k.raw) {
		return k.none()
	}
	if k.context == "" {
		return fmt.Errorf("%s has no current-context; choose one with --context or kubectl config use-context%s", k.file(), k.others())
	}
	context := k.raw.Contexts[k.context]
	if context == nil {
		return k.noContext()
	}
	switch cluster := k.raw.Clusters[context.Cluster]; {
	case context.Cluster == "":
		return fmt.Errorf("%s names no cluster; add it with kubectl config set-context %s --cluster CLUSTER, or choose another --context%s", k.phrase(), k.context, k.others())
	case cluster == nil:
		return fmt.Errorf("%s names cluster %q, which the kubeconfig does not have; repair it, or choose another --context%s", k.phrase(), context.Cluster, k.others())
	case cluster.Server == "":
		return fmt.Errorf("%s names cluster %q, which has no server; add it with kubectl config set-cluster %s --server URL, or choose another --context%s", k.phrase(), context.Cluster, context.Cluster, k.others())
	}
	return nil
}

// none is the error if there is no kubeconfig, or only empty ones.
func (k *kubeconfig) none() error {
	var missing, empty []string
	for _, file := range k.files {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		} else {
			empty = append(empty, file)
		}
	}
	var said []string
	if len(missing) > 0 {
		said = append(said, strings.Join(missing, " and ")+" "+plural(missing, "does", "do")+" not exist")
	}
	if len(empty) > 0 {
		said = append(said, strings.Join(empty, " and ")+" "+plural(empty, "is", "are")+" empty")
	}
	hint := ""
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		hint = "; in a pod, mount the token of a ServiceAccount (automountServiceAccountToken: true)"
	}
	context := ""
	if k.chosen {
		context = fmt.Sprintf(", so --context %s names nothing", k.context)
	}
	return fmt.Errorf("there is no kubeconfig: %s%s; name one %s%s", strings.Join(said, ", "), context, k.where(), hint)
}

func (k *kubeconfig) noContext() error {
	if !k.chosen {
		return fmt.Errorf("context %q, the current-context of %s, does not exist; choose one with --context%s", k.context, k.file(), k.others())
	}
	hint := ""
	if near := suggest.Nearest(k.context, slices.Sorted(maps.Keys(k.raw.Contexts))); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("context %q (--context) does not exist in %s%s%s", k.context, k.file(), hint, k.others())
}

// where says how another kubeconfig is named.
func (k *kubeconfig) where() string {
	switch {
	case k.explicit:
		return "with --kubeconfig"
	case os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "":
		return "in $KUBECONFIG or with --kubeconfig"
	}
	return "with --kubeconfig or in $KUBECONFIG"
}

// file reads "kubeconfig FILE". Several files are merged into one configuration.
func (k *kubeconfig) file() string { return "kubeconfig " + strings.Join(k.files, ", ") }

// phrase names the context in use and the file that has it.
func (k *kubeconfig) phrase() string {
	file := k.file()
	if context := k.raw.Contexts[k.context]; context != nil && context.LocationOfOrigin != "" {
		file = "kubeconfig " + context.LocationOfOrigin
	}
	return fmt.Sprintf("context %q of %s", k.context, file)
}

// others lists the contexts that there are.
func (k *kubeconfig) others() string {
	names := slices.Sorted(maps.Keys(k.raw.Contexts))
	names = slices.DeleteFunc(names, func(name string) bool { return name == k.context })
	if len(names) == 0 {
		return ""
	}
	more := ""
	if n := len(names) - maxContexts; n > 0 {
		names, more = names[:maxContexts], fmt.Sprintf(" and %d more", n)
	}
	return "; contexts: " + strings.Join(names, ", ") + more
}

// source says where a configuration that can be used came from.
func (k *kubeconfig) source(config *rest.Config) string {
	if config.BearerTokenFile != "" && clientcmdapi.IsConfigEmpty(&k.raw) {
		return "the ServiceAccount of this pod"
	}
	context := k.raw.Contexts[k.context]
	if context == nil {
		return ""
	}
	// Like kubectl, osm then sends no credentials.
	if user := context.AuthInfo; user != "" && k.raw.AuthInfos[user] == nil {
		return fmt.Sprintf("%s, whose user %q does not exist", k.phrase(), user)
	}
	return k.phrase()
}

func plural(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}
