package injector

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/tests/catest"
)

// BenchmarkAdmissions sends the reviews of a typical pod to whole webhooks over HTTPS, as an API server does: over kept
// connections, four at a time for each replica. Each replica is a process of its own with one processor.
//
// admissions/s/core is what a replica does in a second of CPU time, so it depends little on what else runs. p99-ms is
// what a client sees, on a machine whose cores all of them share. x-growth is how much more three replicas do than one
// where each has a core: they share nothing, so it is three unless an admission costs more beside other replicas.
func BenchmarkAdmissions(b *testing.B) {
	perCore := map[int]float64{}
	for _, replicas := range []int{1, 3} {
		servers := make([]*benchServer, replicas)
		for i := range servers {
			servers[i] = startBenchServer(b)
		}
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			perCore[replicas] = benchmarkAdmissions(b, servers)
			if one := perCore[1]; replicas > 1 && one > 0 {
				b.ReportMetric(float64(replicas)*perCore[replicas]/one, "x-growth")
			}
		})
		for _, s := range servers {
			s.stop(b)
		}
	}
}

// benchmarkAdmissions returns the admissions in a second of CPU time.
func benchmarkAdmissions(b *testing.B, servers []*benchServer) (perCore float64) {
	const connections = 4 // to each replica
	body := typicalReview(b)
	for _, s := range servers {
		for range 50 {
			s.admit(b, body) // connections, and what is made once
		}
	}
	work := make(chan struct{}, b.N)
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	var mu sync.Mutex
	var took []time.Duration
	cpu := cpuOf(b, servers)
	b.ResetTimer()
	var clients sync.WaitGroup
	for i := range connections * len(servers) {
		s := servers[i%len(servers)]
		clients.Go(func() {
			var own []time.Duration
			for range work {
				start := time.Now()
				s.admit(b, body)
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	clients.Wait()
	b.StopTimer()
	if spent := cpuOf(b, servers) - cpu; spent > 0 {
		perCore = float64(b.N) / spent.Seconds()
	}
	slices.Sort(took)
	b.ReportMetric(perCore, "admissions/s/core")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	return perCore
}

// typicalReview is of a pod with three containers that have two probes each.
func typicalReview(b *testing.B) []byte {
	b.Helper()
	pod := corev1.Pod{}
	pod.Name, pod.Labels = "shop-7d9c5b8f6-x2x7q", map[string]string{"app": "shop", "pod-template-hash": "7d9c5b8f6"}
	pod.Spec.Volumes = []corev1.Volume{{Name: "config"}, {Name: "kube-api-access-x2x7q"}}
	for i, name := range []string{"web", "worker", "metrics"} {
		port := intstr.FromInt(8080 + i)
		c := corev1.Container{
			Name: name, Image: "registry.example/shop/" + name + ":1.4.2",
			Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: port.IntVal, Protocol: corev1.ProtocolTCP}},
			LivenessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/live", Port: port}}, PeriodSeconds: 10},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: port}}, PeriodSeconds: 5},
			VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/shop"}, {Name: "kube-api-access-x2x7q", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}},
		}
		for j := range 10 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", j), Value: "a value of some length"})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	text, err := json.Marshal(pod)
	if err != nil {
		b.Fatal(err)
	}
	return review(func(request map[string]any) { request["object"] = json.RawMessage(text) })
}

// benchServer is a webhook in a process of its own.
type benchServer struct {
	process *exec.Cmd
	end     io.Closer
	url     string
	client  *http.Client
}

const benchServerEnv = "OSM_BENCHMARK_SERVER"

func startBenchServer(b *testing.B) *benchServer {
	b.Helper()
	s := &benchServer{process: exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServeForBenchmark$", "-test.v=false")}
	s.process.Env = append(os.Environ(), benchServerEnv+"=1", "GOMAXPROCS=1")
	s.process.Stderr = os.Stderr
	stdin, err := s.process.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		b.Fatal(err)
	}
	s.end = stdin
	var address, bundle string
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("the server did not start: %v", err)
	}
	if _, err := fmt.Sscan(line, &address, &bundle); err != nil {
		b.Fatalf("the server said %q: %v", line, err)
	}
	roots := x509.NewCertPool()
	pem, err := base64.StdEncoding.DecodeString(bundle)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		b.Fatalf("the server's root: %v", err)
	}
	s.url = "https://" + address + WebhookPath
	s.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: api.InjectorHost("osm-system"), MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 100,
	}}
	return s
}

func (s *benchServer) stop(b *testing.B) {
	b.Helper()
	s.client.CloseIdleConnections()
	_ = s.end.Close()
	if err := s.process.Wait(); err != nil {
		b.Errorf("the server ended: %v", err)
	}
}

// admit sends one review, which must be answered with a patch.
func (s *benchServer) admit(b *testing.B, body []byte) {
	response, err := s.client.Post(s.url, "application/json", bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"patch"`)) {
		b.Errorf("%s, %v: %.200s", response.Status, err, answer)
	}
}

// cpuOf is the CPU time that the servers have used, user and system, as the kernel counts it.
func cpuOf(b *testing.B, servers []*benchServer) (total time.Duration) {
	b.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all platforms of Go
	for _, s := range servers {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		// The name, in parentheses, may contain spaces. User and system time are the 12th and 13th fields after it.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		var user, system int64
		if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(user+system) * tick
	}
	return total
}

// TestServeForBenchmark is a server of BenchmarkAdmissions. It says where it listens and what its root is, and ends with
// its input.
func TestServeForBenchmark(t *testing.T) {
	if os.Getenv(benchServerEnv) == "" {
		t.Skip("only for BenchmarkAdmissions")
	}
	authority := catest.New(t)
	cfg := testConfig(t)
	_, end := running(t, cfg, meshConfigClient(), fake.NewClientset(servingSecret(t, authority)))
	ask(t, cfg.Address, authority.Trust())
	fmt.Println(cfg.Address, base64.StdEncoding.EncodeToString(authority.Trust().Bundle))
	_, _ = io.Copy(io.Discard, os.Stdin)
	end()
}
