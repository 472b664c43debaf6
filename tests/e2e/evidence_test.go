//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/api"
)

const evidenceTime = time.Minute

// step runs one part of the story and keeps evidence if it fails.
func (s *story) step(t *testing.T, name string, run func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { s.keepEvidence(t) })
		begin := time.Now()
		run(t)
		t.Logf("took %s", since(begin))
	})
}

// keepEvidence writes the state, the events and the logs of all pods of the mesh and of the story
// into a folder named after the test.
func (s *story) keepEvidence(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), evidenceTime)
	defer cancel()
	folder := filepath.Join(s.env.out, filepath.FromSlash(strings.ReplaceAll(t.Name(), " ", "_")))
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Logf("keep evidence: %v", err)
		return
	}
	pods, err := s.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("keep evidence: %v", err)
		return
	}
	mine, err := s.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: labelMine})
	if err != nil {
		t.Logf("keep evidence: %v", err)
		return
	}
	namespaces := []string{api.DefaultNamespace}
	for i := range mine.Items {
		namespaces = append(namespaces, mine.Items[i].Name)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; slices.Contains(namespaces, pod.Namespace) {
			s.keepPod(ctx, t, folder, pod)
		}
	}
	s.keepEvents(ctx, t, folder)
	t.Logf("evidence is in %s", folder)
}

func (s *story) keepPod(ctx context.Context, t *testing.T, folder string, pod *corev1.Pod) {
	pod.ManagedFields = nil
	start := filepath.Join(folder, pod.Namespace+"_"+pod.Name)
	if text, err := yaml.Marshal(pod); err == nil {
		keep(t, start+".yaml", text)
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		s.keepLog(ctx, t, start+"_"+status.Name+".log", pod, &corev1.PodLogOptions{Container: status.Name, Timestamps: true})
		if status.RestartCount > 0 {
			s.keepLog(ctx, t, start+"_"+status.Name+".previous.log", pod, &corev1.PodLogOptions{Container: status.Name, Timestamps: true, Previous: true})
		}
	}
	if injected(pod) && pod.Status.Phase == corev1.PodRunning {
		for _, query := range []string{"config_dump", "clusters", "stats"} {
			text, err := s.tryOSM(ctx, "proxy", "get", query, pod.Name, "-n", pod.Namespace)
			if err != nil {
				text = []byte(err.Error())
			}
			keep(t, start+"_envoy_"+query+".txt", text)
		}
	}
}

func (s *story) keepLog(ctx context.Context, t *testing.T, file string, pod *corev1.Pod, options *corev1.PodLogOptions) {
	stream, err := s.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
	if err != nil {
		keep(t, file, []byte(err.Error()))
		return
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		text = fmt.Appendf(text, "\n%v", err)
	}
	keep(t, file, text)
}

func (s *story) keepEvents(ctx context.Context, t *testing.T, folder string) {
	events, err := s.kube.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("keep events: %v", err)
		return
	}
	slices.SortFunc(events.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var text []byte
	for i := range events.Items {
		e := &events.Items[i]
		text = fmt.Appendf(text, "%s %s %s %s/%s %s: %s\n", e.LastTimestamp.UTC().Format(time.RFC3339), e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	keep(t, filepath.Join(folder, "events.txt"), text)
}

func keep(t *testing.T, file string, text []byte) {
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Logf("keep evidence: %v", err)
	}
}
