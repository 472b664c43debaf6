package rotate_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/tests/apitest"
)

// slowPrompt answers a confirmation after a change in the cluster.
type slowPrompt struct {
	command.Prompter // there is no other prompt
	meanwhile        func()
	answer           bool
}

func (p slowPrompt) Confirm(string) (bool, error) {
	p.meanwhile()
	return p.answer, nil
}

// run runs osm and returns its exit code and what it wrote to standard error.
func run(t *testing.T, env *command.Env, args ...string) (code int, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env.Out, env.Err = &out, &errs
	code = cli.Main(t.Context(), env, args)
	return code, errs.String()
}

func rootObject(name, role, secret, wanted string) apitest.Object {
	annotations := apitest.Object{}
	if wanted != "" {
		annotations[v1alpha2.AnnotationRotateTo] = wanted
	}
	return apitest.Object{
		"apiVersion": "config.openservicemesh.io/v1alpha2", "kind": "MeshRootCertificate",
		"metadata": apitest.Object{"name": name, "namespace": "osm-system", "annotations": annotations},
		"spec": apitest.Object{"role": role, "trustDomain": "cluster.local", "provider": apitest.Object{"tresor": apitest.Object{"ca": apitest.Object{
			"secretRef": apitest.Object{"name": secret, "namespace": "osm-system"},
		}}}},
	}
}

// A change between the read and the write is detected: a write applies only to the version that was read.
func TestRotateMeanwhile(t *testing.T) {
	const asked, later = "2027-01-01T11:00:00Z", "2027-01-01T11:30:00Z"
	idle := func(server *apitest.Server) {
		server.Apply(rootObject("a", "active", "osm-ca-bundle", ""), rootObject("b", "inactive", "osm-ca-bundle-next", ""))
	}
	begun := func(server *apitest.Server) {
		server.Apply(rootObject("a", "active", "osm-ca-bundle", ""), rootObject("b", "passive", "osm-ca-bundle-next", asked))
	}
	tests := map[string]struct {
		before    func(*apitest.Server)
		meanwhile []apitest.Object
		no        bool
		args      string
		want      string // of the error; "" for none
		writes    string
	}{
		"not confirmed":                  {before: idle, no: true, args: "--to b", want: "not confirmed; nothing was changed"},
		"no change":                      {before: idle, args: "--to b", writes: "PATCH meshrootcertificates"},
		"the root is used":               {before: idle, meanwhile: []apitest.Object{rootObject("b", "passive", "osm-ca-bundle-next", "")}, args: "--to b", want: "it was changed in the meantime", writes: "PATCH meshrootcertificates"},
		"a root of that name is created": {before: idle, meanwhile: []apitest.Object{rootObject("new", "inactive", "x", asked)}, args: "--provider vault --vault-host v --vault-protocol http --name new", want: "it was changed in the meantime", writes: "POST meshrootcertificates"},
		"the driver writes a step":       {before: begun, meanwhile: []apitest.Object{rootObject("b", "active", "osm-ca-bundle-next", asked), rootObject("a", "passive", "osm-ca-bundle", "")}, args: "--abort", writes: "PATCH meshrootcertificates,PATCH meshrootcertificates"},
		"the old root is dropped":        {before: begun, meanwhile: []apitest.Object{rootObject("b", "active", "osm-ca-bundle-next", asked), rootObject("a", "inactive", "osm-ca-bundle", "")}, args: "--abort", want: "the previous root is no longer trusted", writes: "PATCH meshrootcertificates"},
		"someone else aborted it too":    {before: begun, meanwhile: []apitest.Object{rootObject("a", "active", "osm-ca-bundle", later)}, args: "--abort", want: "the roots were changed in the meantime", writes: "PATCH meshrootcertificates"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := &apitest.Server{}
			server.StartFor(t)
			env := command.NewEnv(command.Build{})
			env.Prompt = slowPrompt{answer: !tt.no, meanwhile: func() { server.Apply(tt.meanwhile...) }}
			if code, stderr := run(t, env, "install", "--set", "osm.image.registry=registry.example,osm.certificateProvider.additionalKinds={vault},osm.vault.protocol=http,osm.vault.host=v"); code != 0 {
				t.Fatal(stderr)
			}
			holder := debugServer(t, `{"leads": true, "step": {"phase": "idle"}}`)
			env.Forward = func(context.Context, string, string, int) (string, func(), error) { return holder, func() {}, nil }
			server.Apply(apitest.Object{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": apitest.Object{"name": "osm-controller", "namespace": "osm-system"}, "spec": apitest.Object{"holderIdentity": "osm-controller-0"}})
			server.Fix(func(s *apitest.Server) {
				s.Pages = map[string]string{"osm-controller-0/metrics": "x 1\n", "osm-injector-0/metrics": "x 1\n"}
			})
			tt.before(server)
			server.Forget()
			code, stderr := run(t, env, append([]string{"mesh", "rotate-root", "--no-wait"}, strings.Fields(tt.args)...)...)
			if failed := code != 0; failed != (tt.want != "") || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %s; want %q", code, stderr, tt.want)
			}
			if got := strings.Join(server.Writes(), ","); got != tt.writes {
				t.Errorf("writes %q, want %q", got, tt.writes)
			}
		})
	}
}

// debugServer serves a page at debug.RotationPath, and returns its address.
func debugServer(t *testing.T, page string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != debug.RotationPath {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(page)) //nolint:errcheck // a test server
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
