package injector

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// TestLinuxTakesTheLongestArgument: the limit is the kernel's, to the byte.
func TestLinuxTakesTheLongestArgument(t *testing.T) {
	run := func(length int) error {
		return exec.CommandContext(t.Context(), "/bin/true", strings.Repeat("x", length)).Run()
	}
	if err := run(maxArgument); err != nil {
		t.Errorf("%d bytes: %v", maxArgument, err)
	}
	if err := run(maxArgument + 1); !errors.Is(err, syscall.E2BIG) {
		t.Errorf("%d bytes: %v, want %v", maxArgument+1, err, syscall.E2BIG)
	}
}

// TestBootstrapUpToTheLimit: a pod is injected if its sidecar's longest argument fits to the byte, with the longest
// address in place of each reference, and refused if it is one byte longer.
func TestBootstrapUpToTheLimit(t *testing.T) {
	for _, mode := range []v1alpha2.LocalProxyMode{v1alpha2.LocalProxyModeLocalhost, v1alpha2.LocalProxyModePodIP} {
		t.Run(string(mode), func(t *testing.T) {
			settings := testSettings()
			settings.Mesh.Sidecar.LocalProxyMode = mode
			longest := func(service int) (int, error) {
				result, err := Patch(aboutToHave(t, grpcPod(service)), settings)
				if err != nil {
					return 0, err
				}
				text := sidecarOf(applyOperations(t, marshal(t, grpcPod(service)), result.Operations)).Args[1]
				return len(strings.ReplaceAll(text, podIPReference, strings.Repeat("f", maxAddress))), nil
			}
			one, err := longest(1)
			if err != nil {
				t.Fatal(err)
			}
			last := 1 + maxArgument - one
			if length, err := longest(last); err != nil || length != maxArgument {
				t.Errorf("a service name of %d bytes: the bootstrap has %d, %v; want %d", last, length, err, maxArgument)
			}
			_, err = longest(last + 1)
			if want := fmt.Sprintf("would have up to %d bytes, and Linux takes %d", maxArgument+1, maxArgument); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("one byte more: %v, want %q", err, want)
			}
			if reasonOf(err) != reasonArguments {
				t.Errorf("counted as %s", reasonOf(err))
			}
		})
	}
}

// grpcPod has a probe whose service name has so many bytes: it is once in the bootstrap.
func grpcPod(service int) *corev1.Pod {
	name := strings.Repeat("s", service)
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "app", LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9090, Service: &name}}},
	}}}}
}

// TestManyContainersWithProbes: sixty containers with three probes each are over the limit of probes, and over Linux's
// where that one is raised. The refusal says so, and which value to change. Forty fit.
func TestManyContainersWithProbes(t *testing.T) {
	_, err := Patch(aboutToHave(t, probedPod(60)), testSettings())
	if err == nil || !strings.Contains(err.Error(), "180 probes and hooks of the pod: at most 150 are allowed (chart value osm.injector.limits.probes)") {
		t.Errorf("by default: %v", err)
	}
	raised := testSettings()
	raised.Limits.Probes = 1000
	if _, err = Patch(aboutToHave(t, probedPod(60)), raised); reasonOf(err) != reasonArguments || !strings.Contains(fmt.Sprint(err), "container envoy") || !strings.Contains(fmt.Sprint(err), "fewer or shorter probes") {
		t.Errorf("with the limit raised: %v", err)
	}
	const fit = 40
	result, err := Patch(aboutToHave(t, probedPod(fit)), testSettings())
	if err != nil {
		t.Fatalf("%d containers: %v", fit, err)
	}
	for _, argument := range sidecarOf(applyOperations(t, marshal(t, probedPod(fit)), result.Operations)).Args {
		if len(argument) > maxArgument {
			t.Errorf("%d containers: an argument of %d bytes", fit, len(argument))
		}
	}
}

// probedPod has n containers with an HTTP, a TCP and a gRPC probe each.
func probedPod(n int) *corev1.Pod {
	pod := &corev1.Pod{}
	for i := range n {
		port := intstr.FromInt(8000 + i)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name:           fmt.Sprintf("shard-%02d", i),
			LivenessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/manage/health/alive", Port: port}}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}},
			StartupProbe:   &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: port.IntVal}}},
		})
	}
	return pod
}
