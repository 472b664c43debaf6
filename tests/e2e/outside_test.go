//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/bootstrap"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/controller"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const (
	outsideMesh = "outside"
	nsOutside   = "e2e-outside-system"
	nsMember    = "e2e-outside-member"
)

// outside runs two controllers of another mesh on this machine, with nothing but bootstrap before
// them: they create one root, see the same mesh, and serve the same bytes, in both variants of xDS.
func (s *story) outside(t *testing.T) {
	member := s.namespace(t, nsMember)
	s.join(t, member)
	who := app{namespace: member, name: "proxy"}
	s.account(t, who)
	s.serviceOf(t, who, "proxy", "", port("http", 80, 8080), port("tcp", 81, 8081))
	pod := s.absentPod(t, who)

	s.namespace(t, nsOutside)
	log := slog.New(slog.DiscardHandler)
	if err := bootstrap.Run(t.Context(), bootstrap.Config{REST: s.config, Namespace: nsOutside, Logger: log}); err != nil {
		t.Fatal(err)
	}
	// Its settings would keep the CustomResourceDefinitions from being removed with the mesh.
	t.Cleanup(func() { s.deleteNamespace(t, nsOutside) })
	addresses := []string{s.outsideController(t, log), s.outsideController(t, log)}
	root := s.outsideRoot(t)
	var all [2]map[string]string
	for i, address := range addresses {
		all[i] = ask(t, address, root, who, pod)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("two replicas serve different configuration:\n%s", diff)
	}
	if len(all[0]) == 0 {
		t.Error("no configuration was served")
	}
	// The leader writes the proxies' own certificates here, too.
	eventually(t, effectTime, func(ctx context.Context) string {
		if _, err := s.kube.CoreV1().Secrets(member).Get(ctx, api.ProxySecretName(who.name), metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// join adds a namespace to the other mesh, as `osm namespace add` would.
func (s *story) join(t *testing.T, namespace string) {
	t.Helper()
	patch := []byte(`{"metadata":{"labels":{"` + api.LabelMonitoredBy + `":"` + outsideMesh + `"}}}`)
	must(s.kube.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}))(t)
}

// absentPod creates a pod of the mesh that no node will ever run: only the object matters.
func (s *story) absentPod(t *testing.T, a app) string {
	t.Helper()
	template := a.template(s.env.testapp)
	pod := &corev1.Pod{ObjectMeta: a.meta(), Spec: template.Spec}
	pod.Labels = map[string]string{api.LabelProxyUUID: "00000000-0000-0000-0000-000000000001"}
	image := pod.Spec.Containers[0].Image
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "proxy", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	pod.Spec.InitContainers = []corev1.Container{
		{Name: api.ContainerInit, Image: image},
		{Name: api.ContainerEnvoy, Image: image, VolumeMounts: []corev1.VolumeMount{{Name: "proxy", MountPath: api.ProxyCertDir}}},
	}
	pod.Spec.NodeSelector = map[string]string{"e2e": "nowhere"}
	name := must(s.kube.CoreV1().Pods(a.namespace).Create(t.Context(), pod, metav1.CreateOptions{}))(t).Name
	// Later steps count the mesh's proxies.
	t.Cleanup(func() {
		if err := s.kube.CoreV1().Pods(a.namespace).Delete(withoutTest(t), name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete pod %s/%s: %v", a.namespace, name, err)
		}
	})
	return name
}

// outsideController runs a controller until the step ends and returns its xDS address.
func (s *story) outsideController(t *testing.T, log *slog.Logger) string {
	t.Helper()
	xds, http := freePort(t), freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- controller.Run(ctx, controller.Config{
			REST: s.config, MeshName: outsideMesh, Namespace: nsOutside, XDSAddress: xds, HTTPAddress: http,
			Holder: xds, DrainPeriod: 5 * time.Second, Log: log,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the controller ended with %v", err)
		}
	})
	eventually(t, effectTime, func(ctx context.Context) string {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", xds)
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
	return xds
}

func freePort(t *testing.T) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (s *story) outsideRoot(t *testing.T) *ca.Root {
	t.Helper()
	secret := must(s.kube.CoreV1().Secrets(nsOutside).Get(t.Context(), api.CABundleSecret, metav1.GetOptions{}))(t)
	return must(ca.ParseRoot(secret.Data, time.Now()))(t)
}

// ask acts as the pod's proxy, subscribes to everything, and returns versions by type and name; the
// state-of-the-world variant has to answer with the same number of clusters.
func ask(t *testing.T, address string, root *ca.Root, who app, pod string) map[string]string {
	t.Helper()
	issuer := must(ca.NewIssuer(ca.IssuerConfig{Root: root, TrustDomain: api.DefaultDomain}))(t)
	leaf := must(issuer.Issue(t.Context(), ca.Request{
		Identity: identity.Identity{Namespace: who.namespace, ServiceAccount: who.name}, Usage: ca.UsageProxy,
	}))(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root.Bundle())
	conn := must(grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{leaf.TLS()}, MinVersion: tls.VersionTLS12,
	}))))(t)
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), effectTime)
	defer cancel()
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	node := &corev3.Node{Id: who.namespace + "/" + pod}

	versions := map[string]string{}
	delta := must(client.DeltaAggregatedResources(ctx))(t)
	for _, url := range []string{envoy.TypeCluster, envoy.TypeListener} {
		err := delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: url})
		resp, failed := delta.Recv()
		if err = errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.GetResources() {
			versions[resp.GetTypeUrl()+" "+r.GetName()] = r.GetVersion() + string(r.GetResource().GetValue())
		}
		err = delta.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: resp.GetNonce()})
		if err != nil {
			t.Fatal(err)
		}
	}
	world := must(client.StreamAggregatedResources(ctx))(t)
	err := world.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: envoy.TypeCluster})
	resp, failed := world.Recv()
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	versions["state of the world"] = resp.GetVersionInfo()
	return versions
}
