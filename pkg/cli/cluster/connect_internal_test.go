package cluster

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clientsFor are the clients of a kubeconfig that names a server and nothing else.
func clientsFor(t *testing.T, server string) (clients *Clients, file string) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["prod"] = &clientcmdapi.Cluster{Server: server}
	config.Contexts["prod"] = &clientcmdapi.Context{Cluster: "prod"}
	config.CurrentContext = "prod"
	file = filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &file
	clients, err := NewClients(flags)
	if err != nil {
		t.Fatal(err)
	}
	return clients, file
}

// A server that does not answer as it should is named with the context that leads to it, and with what to do.
func TestUnreachable(t *testing.T) {
	status := func(code int, reason metav1.StatusReason) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "no"}) //nolint:errcheck // a test server
		}
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		url     string // of another server
		tls     bool
		want    []string
	}{
		"unauthorized":     {handler: status(401, metav1.StatusReasonUnauthorized), want: []string{"the Kubernetes API server at ", "does not accept your credentials"}},
		"forbidden":        {handler: status(403, metav1.StatusReasonForbidden), want: []string{"the Kubernetes API server at ", "refuses to tell its version"}},
		"another server":   {handler: http.NotFound, want: []string{"does not answer as a Kubernetes API server does", "choose another --kubeconfig or --context"}},
		"unknown root":     {handler: http.NotFound, tls: true, want: []string{"cannot reach", "x509: ", "; its certificate is not one of the kubeconfig's certificate-authority: get a new kubeconfig"}},
		"nothing listens":  {url: "https://127.0.0.1:1", want: []string{"cannot reach", "; nothing listens there: start the cluster"}},
		"password in host": {url: "https://admin:hunter2@127.0.0.1:1", want: []string{"https://admin:xxxxx@127.0.0.1:1 "}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.handler != nil {
				start := httptest.NewServer
				if tt.tls {
					start = httptest.NewTLSServer
				}
				server := start(tt.handler)
				t.Cleanup(server.Close)
				tt.url = server.URL
			}
			clients, file := clientsFor(t, tt.url)
			_, err := clients.ServerVersion(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, `(context "prod" of kubeconfig `+file+")") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v: has the password", err)
			}
		})
	}
}

func TestUnknownName(t *testing.T) {
	clients, _ := clientsFor(t, "https://api.prod.invalid")
	err := clients.unreachable(&url.Error{Op: "Get", URL: "https://api.prod.invalid/version", Err: &net.DNSError{Err: "no such host", Name: "api.prod.invalid"}})
	if want := "): lookup api.prod.invalid: no such host; its name does not resolve: check the network or the VPN"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
}

// Only a server that nobody has named is refused: http://localhost:8080 itself is allowed.
func TestLocalhostMayBeNamed(t *testing.T) {
	clients, _ := clientsFor(t, kubernetesDefault)
	if clients.Config.Host != kubernetesDefault {
		t.Errorf("host %s", clients.Config.Host)
	}
}

// A long list of contexts is cut.
func TestContextsAreCut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	config := clientcmdapi.NewConfig()
	for _, name := range strings.Split("a b c d e f g h i j", " ") {
		config.Contexts[name] = &clientcmdapi.Context{}
	}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	flags, context := genericclioptions.NewConfigFlags(false), "prod"
	flags.KubeConfig, flags.Context = &file, &context
	if _, err := NewClients(flags); err == nil || !strings.HasSuffix(err.Error(), "; contexts: a, b, c, d, e, f, g, h and 2 more") {
		t.Errorf("got %v", err)
	}
}
