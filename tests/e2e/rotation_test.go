//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/demo/provider"
	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	meshprovider "github.com/osm-edge/osm/pkg/controlplane/provider"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
	"github.com/osm-edge/osm/tests/e2e/testapp/agent"
)

const (
	// fastInterval is the interval of each call during the rotation; enoughCalls is the total.
	fastInterval = 25 * time.Millisecond
	enoughCalls  = 50_000
	// deliveryTime is the maximum time that a Secret takes to reach a pod on the local cluster.
	deliveryTime = 20 * time.Second
	// killTime is the maximum duration of a rotation whose leader is killed repeatedly.
	killTime = 12 * time.Minute
)

// TestRotation replaces the root of a mesh under load: with another key, with Vault's, with that of an issuer
// of cert-manager. In each phase the leader is killed. No call may fail.
func TestRotation(t *testing.T) {
	env := must(readEnvironment())(t)
	s := &story{cluster: connect(t, env.kubeconfig), env: env}
	s.empty(t)
	before := s.inventory(t)
	t.Run("mesh", func(t *testing.T) {
		vault, certManager := s.deployVault(t), s.deployCertManager(t)
		t.Cleanup(func() { s.cleanUp(t); s.awaitRemoval(t) })
		t.Cleanup(func() { s.keepEvidence(t) })
		record := s.record(t)
		s.osm(t, slices.Concat([]string{"install"}, s.narrowed(t), vault.values, certManager.values, []string{
			"--set=osm.certificateProvider.kind=tresor",
			"--set=osm.certificateProvider.additionalKinds={vault,cert-manager}",
			"--set=osm.certificateProvider.secretDelivery=" + deliveryTime.String(),
			"--set=osm.osmController.replicaCount=2", "--set=osm.injector.replicaCount=2",
		}, env.imageValues())...)
		s.deployPair(t)
		if t.Failed() {
			t.Fatal("without client and servers no step can run")
		}
		s.step(t, "two issuers", s.twoIssuers)
		_, client := s.onlyPod(t, s.apps.client)
		load := fastFlow(t, client, s.apps.everything()...)
		next := signer{kind: "another key", root: s.secretRoot(api.DefaultNamespace, api.CABundleSecret+"-next", "ca.crt")}
		s.step(t, "another key", func(t *testing.T) { s.rotate(t, load, next) })
		s.step(t, "vault", func(t *testing.T) {
			s.rotate(t, load, vault, "--provider=vault", "--vault-host="+provider.VaultHost, "--vault-role="+v1alpha2.DefaultVaultRole)
		})
		s.step(t, "cert-manager", func(t *testing.T) { s.rotate(t, load, certManager, "--provider=cert-manager") })
		if tally := load.more(t, 1); tally.Succeeded < enoughCalls {
			load.awaitCalls(t, enoughCalls-tally.Succeeded)
		}
		load.stop(t)
		s.step(t, "rights", func(t *testing.T) { s.fits(t, record, rotationRights) })
		s.deleteNamespace(t, nsClient)
		s.deleteNamespace(t, nsServer)
		s.osm(t, "uninstall", "mesh", "--force", "--delete-cluster-wide-resources", "--delete-namespace")
	})
	s.unchangedSince(t, before)
}

// twoIssuers checks that two servers present certificates that different replicas signed for the same
// name, and that the client accepts both.
func (s *story) twoIssuers(t *testing.T) {
	_, client := s.onlyPod(t, s.apps.client)
	for attempt := 1; ; attempt++ {
		pods := s.ready(t, s.apps.server, 2)
		a, b := s.line(t, pods[0]), s.line(t, pods[1])
		if a.Replica != b.Replica && a.Serial != b.Serial {
			seen := map[string]bool{}
			eventually(t, effectTime, func(ctx context.Context) string {
				answer, err := client.Call(ctx, s.apps.everything()[0])
				if err != nil || !answer.OK() {
					return fmt.Sprintf("a call failed: %v, %s", err, answer.Error)
				}
				seen[answer.Seen.Server] = true
				return map[bool]string{false: "only one server has answered"}[len(seen) > 1]
			})
			t.Logf("%s answers with %s of %s, %s with %s of %s", a.Pod, a.Serial, a.Replica, b.Pod, b.Serial, b.Replica)
			return
		}
		if attempt == 10 {
			t.Fatalf("both servers have their certificate from one replica, ten times: %+v, %+v", a, b)
		}
		if err := s.kube.CoreV1().Pods(pods[1].Namespace).Delete(t.Context(), pods[1].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.gonePod(t, pods[1])
	}
}

// gonePod waits until a pod is deleted.
func (s *story) gonePod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	eventually(t, podTime, func(ctx context.Context) string {
		_, err := s.kube.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("pod %s is still there: %v", pod.Name, err)
	})
}

// line returns the command's line about a pod's proxy, once it has acknowledged a certificate.
func (s *story) line(t *testing.T, pod *corev1.Pod) rotation.Line {
	t.Helper()
	var found rotation.Line
	eventually(t, effectTime, func(context.Context) string {
		var report rotationReport
		if err := json.Unmarshal([]byte(s.osm(t, "mesh", "rotate-root", "--status", "--output=json")), &report); err != nil {
			return err.Error()
		}
		for _, line := range report.Proxies {
			if line.Pod == pod.Namespace+"/"+pod.Name && line.Serial != "" {
				found = line
				return ""
			}
		}
		return fmt.Sprintf("no line for %s in %+v", pod.Name, report.Proxies)
	})
	return found
}

// fastFlow is like flow, at a higher rate.
func fastFlow(t *testing.T, from agent.Client, calls ...agent.Call) traffic {
	t.Helper()
	if err := from.StartLoad(t.Context(), agent.Load{Calls: calls, Interval: fastInterval}); err != nil {
		t.Fatal(err)
	}
	f := traffic{from}
	f.more(t, 10*len(calls))
	return f
}

// awaitCalls waits for more calls than can finish within one wait.
func (f traffic) awaitCalls(t *testing.T, calls int) {
	t.Helper()
	const atOnce = 1000
	for ; calls > 0 && !t.Failed(); calls -= atOnce {
		f.more(t, min(atOnce, calls))
	}
}

// report is the final output of the command.
type rotationReport struct {
	Goal    string          `json:"goal"`
	Done    bool            `json:"done"`
	Proxies []rotation.Line `json:"proxies"`
}

// rotate replaces the root with the signer's in one command, and kills the leader once in each
// phase.
func (s *story) rotate(t *testing.T, load traffic, to signer, args ...string) {
	begin := time.Now()
	calls := load.more(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), killTime)
	defer cancel()
	type outcome struct {
		text []byte
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		text, err := s.tryOSM(ctx, append([]string{"mesh", "rotate-root", "--yes", "--output=json", "--timeout=" + killTime.String()}, args...)...)
		done <- outcome{text, err}
	}()
	killed := map[rotation.Phase]string{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var end outcome
	for running := true; running; {
		select {
		case end = <-done:
			running = false
		case <-tick.C:
			s.killLeaders(t, killed)
		}
	}
	if end.err != nil {
		t.Fatalf("after %s: %v\n%s", since(begin), end.err, end.text)
	}
	for _, phase := range []rotation.Phase{rotation.TrustBoth, rotation.SignNew, rotation.AllRenewed, rotation.DropOld} {
		if killed[phase] == "" {
			t.Errorf("no leader was killed in phase %s", phase)
		}
	}
	var report rotationReport
	if err := json.Unmarshal(end.text, &report); err != nil || !report.Done {
		t.Fatalf("the report does not show that the rotation is done: %v\n%s", err, end.text)
	}
	s.reported(t, report)
	s.leavesOf(t, to)
	now := load.more(t, 100)
	t.Logf("%s signs after %s, %d calls succeeded during that time, %d failed; killed in %v", to.kind, since(begin), now.Succeeded-calls.Succeeded, now.Failed-calls.Failed, killed)
}

// killLeaders kills the leader once in each phase, without grace.
func (s *story) killLeaders(t *testing.T, killed map[rotation.Phase]string) {
	t.Helper()
	phase := s.phase(t)
	if phase == rotation.Idle || killed[phase] != "" {
		return
	}
	lease, err := s.kube.CoordinationV1().Leases(api.DefaultNamespace).Get(t.Context(), api.ControllerLease, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return // there is currently no leader
	}
	holder := *lease.Spec.HolderIdentity
	if slices.Contains([]string{killed[rotation.TrustBoth], killed[rotation.SignNew], killed[rotation.AllRenewed]}, holder) {
		return // it was killed already, and its Lease has not expired yet
	}
	err = s.kube.CoreV1().Pods(api.DefaultNamespace).Delete(t.Context(), holder, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))})
	if err != nil {
		t.Errorf("kill %s: %v", holder, err)
	}
	killed[phase] = holder
}

// phase derives the phase from the current roles.
func (s *story) phase(t *testing.T) rotation.Phase {
	t.Helper()
	objects, err := meshprovider.MeshRoots(t.Context(), s.dynamic, api.DefaultNamespace)
	if err != nil {
		return rotation.Idle
	}
	roots := make([]rotation.Root, len(objects))
	for i := range objects {
		roots[i] = rotation.RootOf(&objects[i])
	}
	goal, asked := rotation.Goal(roots)
	others := slices.DeleteFunc(rotation.Trusted(roots), func(r rotation.Root) bool { return r.Name == goal.Name })
	switch {
	case !asked || goal.Role == rotation.Inactive:
		return rotation.Idle
	case goal.Role == rotation.Passive:
		return rotation.TrustBoth
	case slices.ContainsFunc(others, func(r rotation.Root) bool { return r.Role == rotation.Active }):
		return rotation.SignNew
	case len(others) > 0:
		return rotation.AllRenewed
	}
	return rotation.DropOld
}

// reported checks that the report has a correct line for every proxy.
func (s *story) reported(t *testing.T, report rotationReport) {
	t.Helper()
	lines := map[string]rotation.Line{}
	for _, line := range report.Proxies {
		lines[line.Pod] = line
	}
	for a, count := range map[app]int{s.apps.client: 1, s.apps.server: 2} {
		for _, pod := range s.ready(t, a, count) {
			line, ok := lines[pod.Namespace+"/"+pod.Name]
			leaf := s.leaf(t, pod, a.spiffe())
			if !ok || line.Root != report.Goal || line.At.IsZero() || line.Serial == "" || !strings.HasPrefix(leaf.SerialNumber.Text(16), line.Serial) {
				t.Errorf("the report says of %s: %+v; its serial is %x, its root %s", pod.Name, line, leaf.SerialNumber, report.Goal)
			}
		}
	}
}
