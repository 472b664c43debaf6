package cli_test

import (
	"context"
	"flag"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/cli"
	"github.com/osm-edge/osm/pkg/cli/command"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
	"github.com/osm-edge/osm/tests/apitest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"osm": runOSM})
}

// runOSM is cmd/osm's main in the test binary.
func runOSM() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := command.NewEnv(command.Build{Version: "v0.0.0-test", GitCommit: "abc", BuildDate: "today"})
	if now, err := time.Parse(time.RFC3339, os.Getenv("NOW")); err == nil {
		// Each look at the clock takes a STEP, so that stories of long waits are short.
		var looks atomic.Int64
		step := duration("STEP")
		env.Now = func() time.Time { return now.Add(time.Duration(looks.Add(1)-1) * step) }
	}
	if poll := duration("POLL"); poll > 0 {
		env.Poll = poll
	}
	code := cli.Main(ctx, env, withRegistry(os.Args[1:], os.Getenv("REGISTRY")))
	stop()
	os.Exit(code)
}

// duration returns the duration in an environment variable, or 0.
func duration(name string) time.Duration {
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		return 0
	}
	return d
}

// testRegistry is the registry of the meshes that tests install.
const testRegistry = "registry.example/team"

// withRegistry adds the value that every installation needs to the command lines that install or upgrade a mesh.
func withRegistry(args []string, registry string) []string {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == "install" || arg == "upgrade" })
	if at < 0 || at > 1 || registry == "" {
		return args
	}
	return slices.Insert(slices.Clone(args), at+1, "--set=osm.image.registry="+registry)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("REGISTRY", testRegistry)
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "kubeconfig"))
			env.Values[serverKey{}] = &apitest.Server{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": startCluster, "fix": fixCluster, "apply": applyFile, "definitions": applyDefinitions, "objects": printObjects, "remove": removeObjects,
			"unchanged": unchanged, "forget": forget, "await": await, "page": servePage, "series": serveSeries,
			"drive": drive, "driven": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(server(ts).AwaitPages()) },
		},
	})
}

type serverKey struct{}

func server(ts *testscript.TestScript) *apitest.Server {
	s, ok := ts.Value(serverKey{}).(*apitest.Server)
	if !ok {
		ts.Fatalf("no server")
	}
	return s
}

// cluster [setting ...] starts a cluster and points KUBECONFIG at it.
func startCluster(ts *testscript.TestScript, _ bool, args []string) {
	s := server(ts)
	configure(ts, s, args)
	s.Start()
	ts.Defer(s.Close)
	ts.Check(os.WriteFile(ts.MkAbs("kubeconfig"), []byte(s.Kubeconfig()), 0o600))
}

// fix [setting ...] changes how the cluster behaves.
func fixCluster(ts *testscript.TestScript, _ bool, args []string) {
	server(ts).Fix(func(s *apitest.Server) {
		s.Stuck, s.FailJobs, s.Forbidden, s.Deny, s.OneNode, s.Hanging, s.Fenced = nil, false, false, nil, false, nil, false
		s.Old, s.DenyAccounts, s.CertManager, s.Refuse = false, nil, false, nil
		configure(ts, s, args)
	})
}

func configure(ts *testscript.TestScript, s *apitest.Server, settings []string) {
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		switch key {
		case "version":
			s.Version = value
		case "metrics":
			s.Metrics = true
		case "refuse":
			s.Refuse = append(s.Refuse, value)
		case "deny":
			s.Deny = append(s.Deny, value)
		case "denyaccounts":
			s.DenyAccounts = append(s.DenyAccounts, value)
		case "old":
			s.Old = true
		case "certmanager":
			s.CertManager = true
		case "stuck":
			app, reason, _ := strings.Cut(value, ":")
			s.Stuck = map[string]string{app: reason}
		case "hangs":
			s.Hanging = map[string]bool{value: true}
		case "fenced":
			s.Fenced = true
		case "onenode":
			s.OneNode = true
		case "failjobs":
			s.FailJobs = true
		case "forbidden":
			s.Forbidden = true
		case "logs":
			s.Logs = value
		case "answers":
			s.Versions = map[string]string{value: `{"version":"v9","gitCommit":"c0ffee","buildDate":"then"}`}
		default:
			ts.Fatalf("unknown setting %q", setting)
		}
	}
}

// page POD/PATH FILE lets a pod answer at a path with a file; without a file it answers no more.
func servePage(ts *testscript.TestScript, _ bool, args []string) {
	server(ts).Fix(func(s *apitest.Server) {
		if s.Pages == nil {
			s.Pages = map[string]string{}
		}
		delete(s.Pages, args[0])
		if len(args) > 1 {
			s.Pages[args[0]] = ts.ReadFile(args[1])
		}
	})
}

// series POD/PATH FILE lets a pod answer with each document of the file once, and with the last one again and again.
func serveSeries(ts *testscript.TestScript, _ bool, args []string) {
	server(ts).Fix(func(s *apitest.Server) {
		if s.Series == nil {
			s.Series = map[string][]string{}
		}
		s.Series[args[0]] = strings.Split(ts.ReadFile(args[1]), "\n---\n")
	})
}

// drive FILE lets a controller drive a rotation: each document of the file is a page that it shows
// once, the last one again and again. pod says which controller; lease, who leads after that page;
// broken, that the connection ends instead.
func drive(ts *testscript.TestScript, _ bool, args []string) {
	var pages []apitest.Page
	for _, document := range strings.Split(ts.ReadFile(args[0]), "\n---\n") {
		var page struct {
			Pod    string         `json:"pod"`
			Lease  string         `json:"lease"`
			Broken bool           `json:"broken"`
			Body   apitest.Object `json:"body"`
		}
		ts.Check(yaml.UnmarshalStrict([]byte(document), &page))
		pages = append(pages, apitest.Page{Pod: page.Pod, Body: page.Body, NextHolder: page.Lease, Broken: page.Broken})
	}
	server(ts).Fix(func(s *apitest.Server) { s.Rotation = pages })
}

// apply FILE stores the objects of a YAML file.
func applyFile(ts *testscript.TestScript, _ bool, args []string) {
	for _, document := range strings.Split(ts.ReadFile(args[0]), "\n---\n") {
		var object apitest.Object
		ts.Check(yaml.Unmarshal([]byte(document), &object))
		server(ts).Apply(object)
	}
}

// definitions applies the mesh's CustomResourceDefinitions, as the install hook does.
func applyDefinitions(ts *testscript.TestScript, _ bool, _ []string) {
	all, err := crds.All()
	ts.Check(err)
	for _, crd := range all {
		data, err := yaml.Marshal(crd)
		ts.Check(err)
		object := apitest.Object{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
		ts.Check(yaml.Unmarshal(data, &object))
		server(ts).Apply(object)
	}
}

// remove RESOURCE NAME removes the objects of a name from the cluster, as somebody else would.
func removeObjects(ts *testscript.TestScript, _ bool, args []string) {
	if server(ts).Remove(args[0], args[1]) == 0 {
		ts.Fatalf("there is no %s %s", args[0], args[1])
	}
}

// objects RESOURCE prints the objects of a resource as YAML, without the data of Secrets.
func printObjects(ts *testscript.TestScript, _ bool, args []string) {
	var shown []apitest.Object
	for _, object := range server(ts).List(args[0]) {
		object = maps.Clone(object)
		delete(object, "data")
		shown = append(shown, object)
	}
	data, err := yaml.Marshal(shown)
	ts.Check(err)
	_, err = ts.Stdout().Write(data)
	ts.Check(err)
}

// unchanged fails when anything was written to the cluster since it started, or since forget.
func unchanged(ts *testscript.TestScript, neg bool, _ []string) {
	if writes := server(ts).Writes(); (len(writes) == 0) == neg {
		ts.Fatalf("writes: %v", slices.Compact(writes))
	}
}

func forget(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Forget() }

// await WRITE waits for a write such as "POST deployments".
func await(ts *testscript.TestScript, _ bool, args []string) { ts.Check(server(ts).Await(args[0])) }
