package injector

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
)

const (
	volumeCertificate = "osm-proxy"
	envPodName        = "POD_NAME"
	envPodNamespace   = "POD_NAMESPACE"
	envPodIP          = "POD_IP"

	defaultAccount     = "default"
	defaultConcurrency = 2
	drainSeconds       = 30
	defaultLogLevel    = "error"

	// initMemory is several times the memory for writing one nftables table.
	initMemory = "128Mi"

	// startupFailures are the seconds that the first configuration may take before the kubelet
	// restarts Envoy.
	startupFailures = 600
)

func (s Settings) appOnPodIP() bool {
	return s.Mesh.Sidecar.LocalProxyMode == v1alpha2.LocalProxyModePodIP
}

// certificateVolume is readable by every user, because Envoy's is not the owner and the pod's
// fsGroup is the user's to choose; only Envoy's container mounts it.
func certificateVolume(account string) corev1.Volume {
	mode := int32(0o444)
	return corev1.Volume{Name: volumeCertificate, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: api.ProxySecretName(account), DefaultMode: &mode},
	}}
}

// initContainer redirects the pod's traffic. It gets root and NET_ADMIN in the pod's own network namespace,
// which the kernel requires, and nothing else.
func initContainer(s Settings, rules redirect.Rules) corev1.Container {
	return corev1.Container{
		Name: api.ContainerInit, Image: s.InitImage, ImagePullPolicy: s.pullPolicy(),
		Args:      append([]string{"redirect"}, rules.Args()...),
		Resources: s.initResources(),
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: ptr(int64(0)), RunAsGroup: ptr(int64(0)), RunAsNonRoot: ptr(false),
			Privileged: ptr(false), AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// sidecarContainer is Envoy. As a native sidecar it starts before every container of the user's
// and ends after them, and it does not keep a Job from completing.
func sidecarContainer(s Settings, account, namespace, bootstrap string) corev1.Container {
	c := corev1.Container{
		Name: api.ContainerEnvoy, Image: s.sidecarImage(), ImagePullPolicy: s.pullPolicy(),
		Command: []string{"envoy"},
		Args:    sidecarArgs(s, account, namespace, bootstrap),
		Env:     sidecarEnv(s),
		Ports: []corev1.ContainerPort{
			{Name: "osm-inbound", ContainerPort: api.PortEnvoyInbound, Protocol: corev1.ProtocolTCP},
			{Name: "osm-metrics", ContainerPort: api.PortEnvoyMetrics, Protocol: corev1.ProtocolTCP},
		},
		VolumeMounts:   []corev1.VolumeMount{{Name: volumeCertificate, MountPath: api.ProxyCertDir, ReadOnly: true}},
		Resources:      s.sidecarResources(),
		ReadinessProbe: readyProbe(5, 3),
		StartupProbe:   readyProbe(1, startupFailures),
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: ptr(int64(api.ProxyUID)), RunAsGroup: ptr(int64(api.ProxyUID)), RunAsNonRoot: ptr(true),
			Privileged: ptr(false), AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if !s.PlainContainer {
		c.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	}
	return c
}

func sidecarArgs(s Settings, account, namespace, bootstrap string) []string {
	return []string{
		"--config-yaml", bootstrap,
		"--log-level", cmp.Or(s.Mesh.Sidecar.LogLevel, defaultLogLevel),
		"--service-node", fmt.Sprintf("$(%s)/$(%s)", envPodNamespace, envPodName),
		"--service-cluster", account + "." + namespace,
		"--concurrency", fmt.Sprint(concurrency(s.sidecarResources())),
		"--drain-time-s", fmt.Sprint(drainSeconds),
		// One Envoy per pod: hot restart and its shared memory are not needed.
		"--disable-hot-restart",
	}
}

func sidecarEnv(s Settings) []corev1.EnvVar {
	env := []corev1.EnvVar{fieldEnv(envPodNamespace, "metadata.namespace"), fieldEnv(envPodName, "metadata.name")}
	if s.appOnPodIP() {
		env = append(env, fieldEnv(envPodIP, "status.podIP"))
	}
	return env
}

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func readyProbe(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: readyPath, Port: intstr.FromInt32(api.PortEnvoyReadyProbe), Scheme: corev1.URISchemeHTTP,
		}},
		TimeoutSeconds: 3, PeriodSeconds: period, SuccessThreshold: 1, FailureThreshold: failures,
	}
}

// concurrency is one worker per whole CPU that Envoy may use; its own default is one per CPU of
// the node, each with memory of its own.
func concurrency(resources corev1.ResourceRequirements) int64 {
	limit, limited := resources.Limits[corev1.ResourceCPU]
	if !limited {
		return defaultConcurrency
	}
	return max(1, limit.Value())
}

func ptr[T any](value T) *T { return &value }
