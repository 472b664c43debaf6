//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/demo/provider"
	"github.com/osm-edge/osm/demo/report"
	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/tests/e2e/canary"
)

// typeRelease is the type of Secret that holds Helm's releases.
const typeRelease corev1.SecretType = "helm.sh/release.v1"

const canaryName = "canary"

// searchSecrets looks for secrets everywhere except in Secrets. First it plants one in several places: a search
// that misses that one would also miss others. early holds places that can no longer be read.
func (s *story) searchSecrets(t *testing.T, p signer, early []canary.Place) {
	searcher, secret := s.secrets(t)
	s.plant(t, secret)
	// Each place either has a canary planted in it, or contains a word that proves what it is.
	places := slices.Concat(early, s.objects(t), s.logs(t), s.releases(t), s.debug(t), s.commands(t, p))
	size := 0
	for _, place := range places {
		size += len(place.Text)
	}
	t.Logf("looking for %d known secrets, and any others, in %d places with %d bytes", searcher.Known(), len(places), size)
	planted := map[string]bool{"ConfigMap e2e-client/canary": false, "Pod osm-system/canary": false, "log of osm-system/canary canary": false, "release osm-system/canary": false}
	for _, finding := range searcher.Search(places...) {
		if _, ours := planted[finding.Place]; ours {
			planted[finding.Place] = planted[finding.Place] || finding.Secret == canaryName
			continue
		}
		t.Errorf("%s", finding)
	}
	for place, found := range planted {
		if !found {
			t.Errorf("the canary in %s was not found, so finding nothing else proves nothing", place)
		}
	}
	s.removePlanted(t)
}

// secrets adds every private key and token in the cluster's Secrets to the search. It returns one of the
// keys, to be planted where it must be found.
func (s *story) secrets(t *testing.T) (*canary.Searcher, []byte) {
	t.Helper()
	searcher, one := canary.New(), []byte(nil)
	list := must(s.kube.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}))(t)
	proxies := 0
	for i := range list.Items {
		secret := &list.Items[i]
		if secret.Type == typeRelease {
			continue // itself searched
		}
		for key, value := range secret.Data {
			name := fmt.Sprintf("%s of Secret %s/%s", key, secret.Namespace, secret.Name)
			count := must(searcher.AddPEM(name, value))(t)
			if count > 0 && secret.Labels[api.LabelProxyCertificate] != "" {
				one = value
				proxies++
			}
			if secret.Name == provider.VaultKeys && key == provider.KeyOperatorToken {
				if err := searcher.Add(name, value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if proxies < 2 {
		t.Fatalf("%d proxies' keys were found in Secrets, want those of client and server", proxies)
	}
	block, _ := pem.Decode(one)
	if err := searcher.Add(canaryName, block.Bytes); err != nil {
		t.Fatal(err)
	}
	return searcher, block.Bytes
}

// plant puts a key into a ConfigMap, a Helm release, and a pod, which also logs it.
func (s *story) plant(t *testing.T, secret []byte) {
	t.Helper()
	text := base64.StdEncoding.EncodeToString(secret)
	must(s.kube.CoreV1().ConfigMaps(nsClient).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: canaryName}, BinaryData: map[string][]byte{"key": []byte("key: " + text)},
	}, metav1.CreateOptions{}))(t)
	must(s.kube.CoreV1().Secrets(api.DefaultNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: canaryName}, Type: typeRelease, Data: map[string][]byte{"release": pack(t, text)},
	}, metav1.CreateOptions{}))(t)
	// The program logs unknown arguments when it refuses them.
	pod := app{namespace: api.DefaultNamespace, name: canaryName}.template(s.env.testapp, text).Spec
	pod.ServiceAccountName, pod.RestartPolicy = "default", corev1.RestartPolicyNever
	pod.Containers[0].Name = canaryName
	pod.Containers[0].Env = []corev1.EnvVar{{Name: "KEY", Value: text}}
	must(s.kube.CoreV1().Pods(api.DefaultNamespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: canaryName, Labels: map[string]string{"app": canaryName}}, Spec: pod,
	}, metav1.CreateOptions{}))(t)
	until(t, s.pods(api.DefaultNamespace, "app="+canaryName), podTime, only(func(pod *corev1.Pod) string {
		if pod.Status.Phase == corev1.PodFailed {
			return ""
		}
		return describe([]*corev1.Pod{pod})
	}))
}

// removePlanted removes what was planted next to the mesh's own objects.
func (s *story) removePlanted(t *testing.T) {
	t.Helper()
	if err := s.kube.CoreV1().Pods(api.DefaultNamespace).Delete(t.Context(), canaryName, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := s.kube.CoreV1().Secrets(api.DefaultNamespace).Delete(t.Context(), canaryName, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	must(w.Write([]byte(text)))(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(buf.Bytes()))
}

// objects returns all ConfigMaps, the pods of the mesh and of its applications as the API shows them, and
// the workloads that create those pods, including args and env.
func (s *story) objects(t *testing.T) []canary.Place {
	t.Helper()
	var places []canary.Place
	add := func(kind string, object metav1.Object) {
		object.SetManagedFields(nil)
		places = append(places, canary.Place{Name: fmt.Sprintf("%s %s/%s", kind, object.GetNamespace(), object.GetName()), Text: must(json.Marshal(object))(t)})
	}
	maps := must(s.kube.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{}))(t)
	for i := range maps.Items {
		add("ConfigMap", &maps.Items[i])
	}
	pods := must(s.kube.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}))(t)
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.Namespace == api.DefaultNamespace || injected(pod) {
			add("Pod", pod)
		}
	}
	deployments := must(s.kube.AppsV1().Deployments(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{}))(t)
	for i := range deployments.Items {
		add("Deployment", &deployments.Items[i])
	}
	events := must(s.kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{}))(t)
	for i := range events.Items {
		add("Event", &events.Items[i])
	}
	return places
}

// logs returns the logs of every container in the mesh's namespace, and of its previous instance.
func (s *story) logs(t *testing.T) []canary.Place {
	t.Helper()
	var places []canary.Place
	pods := must(s.kube.CoreV1().Pods(api.DefaultNamespace).List(t.Context(), metav1.ListOptions{}))(t)
	for i := range pods.Items {
		pod := &pods.Items[i]
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			for _, previous := range []bool{false, true} {
				if previous && status.RestartCount == 0 {
					continue
				}
				text := must(s.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: status.Name, Previous: previous}).DoRaw(t.Context()))(t)
				if pod.Labels["app"] == api.AppController && !previous {
					expect(t, "log of "+pod.Name, text, "osm-controller is ready")
				}
				places = append(places, canary.Place{Name: fmt.Sprintf("log of %s/%s %s", pod.Namespace, pod.Name, status.Name), Text: text})
			}
		}
	}
	return places
}

// releases returns Helm's releases, unpacked.
func (s *story) releases(t *testing.T) []canary.Place {
	t.Helper()
	var places []canary.Place
	list := must(s.kube.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{FieldSelector: "type=" + string(typeRelease)}))(t)
	for i := range list.Items {
		secret := &list.Items[i]
		packed := must(base64.StdEncoding.DecodeString(string(secret.Data["release"])))(t)
		text := must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(packed)))(t)))(t)
		if secret.Name != canaryName {
			expect(t, "Helm's release", text, "osm-controller")
		}
		places = append(places, canary.Place{Name: fmt.Sprintf("release %s/%s", secret.Namespace, secret.Name), Text: text})
	}
	return places
}

// debug returns what a controller serves on its loopback address.
func (s *story) debug(t *testing.T) []canary.Place {
	t.Helper()
	forwarder := &report.Forwarder{Config: s.config, Kube: s.kube}
	var places []canary.Place
	for _, pod := range until(t, s.pods(api.DefaultNamespace, "app="+api.AppController), podTime, allAvailable(1)) {
		for path, word := range map[string]string{
			debug.XDSPath: "server", debug.RotationPath: "", // not every version has the latter
			"/debug/pprof/goroutine?debug=2": "goroutine", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/allocs?debug=1": "heap profile",
		} {
			text, err := forwarder.Fetch(t.Context(), report.Endpoint{Namespace: pod.Namespace, Pod: pod.Name, Port: api.PortDebug, Path: path})
			if err != nil && word != "" {
				t.Error(err)
			}
			if err == nil {
				expect(t, path, text, word)
				places = append(places, canary.Place{Name: path + " of " + pod.Name, Text: text})
			}
		}
	}
	return places
}

// commands returns the output of the commands.
func (s *story) commands(t *testing.T, p signer) []canary.Place {
	t.Helper()
	root := sha256.Sum256(p.root(t).Raw)
	pod := s.ready(t, s.apps.client, 1)[0]
	var places []canary.Place
	for _, row := range []struct {
		args []string
		word string
	}{
		{[]string{"mesh", "list", "-o", "json"}, hex.EncodeToString(root[:])},
		{[]string{"verify", "ha", "-o", "json"}, `"checks"`},
		{[]string{"proxy", "status", "-o", "json"}, `"proxyVersion": "1.`},
		{[]string{"proxy", "get", "config_dump?include_eds", pod.Name, "-n", pod.Namespace}, "SecretsConfigDump"},
		{[]string{"proxy", "get", "certs", pod.Name, "-n", pod.Namespace}, "serial_number"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), osmTime)
		// It may fail with an explanation: a single controller is not highly available.
		text, err := s.tryOSM(ctx, row.args...)
		cancel()
		if err != nil {
			text = fmt.Appendf(text, "\n%v", err)
		}
		name := "osm " + strings.Join(row.args, " ")
		expect(t, name, text, row.word)
		places = append(places, canary.Place{Name: name, Text: text})
	}
	return places
}

// expect checks that a text is the expected page, and not an error.
func expect(t *testing.T, name string, text []byte, word string) {
	t.Helper()
	if !bytes.Contains(text, []byte(word)) {
		t.Errorf("%s does not contain %q, so it is not the text to search: %.300s", name, word, text)
	}
}
