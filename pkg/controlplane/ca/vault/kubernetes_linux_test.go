package vault_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
	"github.com/osm-edge/osm/tests/realapi"
)

const (
	namespace = "osm-system"
	account   = "osm-controller"
	audience  = "vault"
)

// TestKubernetesLogin logs in as a ServiceAccount of a real API server, which reviews the token for the
// provider's server. The token works for that server only: the API server itself refuses it.
func TestKubernetesLogin(t *testing.T) {
	t.Parallel()
	b := newBao(t) // skips first: it is cheaper
	api := realapi.Start(t)
	b.start()
	b.initialise()
	m := newMeshOn(t, b)
	m.setUp()
	client := api.Client(t)
	for _, name := range []string{account, "other", "reviewer"} {
		newAccount(t, client, name)
	}
	m.write("sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	host := api.Config().Host
	m.write("auth/kubernetes/config", map[string]any{
		"kubernetes_host": host, "kubernetes_ca_cert": servingCA(t, host), "disable_local_ca_jwt": true, "token_reviewer_jwt": accountToken(t, client, "reviewer"),
	})
	m.write("auth/kubernetes/role/"+pkiRole, map[string]any{
		"bound_service_account_names": account, "bound_service_account_namespaces": namespace, "audience": audience, "token_policies": "osm", "token_ttl": "1h",
	})
	file := filepath.Join(t.TempDir(), "token")
	writeAccountToken(t, client, file, account, audience)
	a := m.authority(func(c *vault.Config) { c.Login = vault.Login{TokenFile: file} })

	loaded := make(chan error, 1)
	go func() { loaded <- m.load(a) }()
	wait(t, "the log to say that token reviews are not allowed", func() bool { return m.journal.contains("ClusterRole system:auth-delegator") })
	delegate(t, client, "reviewer")
	must(t, <-loaded)
	mustIssue(t, a, service("buyer"))

	for name, audiences := range map[string][]string{"other": {audience}, account: nil} {
		writeAccountToken(t, client, file, name, audiences...)
		m.write("sys/leases/revoke-prefix/auth/kubernetes/login", nil)
		_, err := a.Issue(t.Context(), service("buyer"))
		contains(t, err, "auth/kubernetes/login", "auth/kubernetes/role/openservicemesh to the control plane's ServiceAccount")
	}
	logins := m.front.count("auth/kubernetes/login")
	writeAccountToken(t, client, file, account, audience)
	recovers(t, a)
	if n := m.front.count("auth/kubernetes/login"); n <= logins {
		t.Errorf("%d logins, want more than %d", n, logins)
	}
	if err := useToken(api, file); !apierrors.IsUnauthorized(err) {
		t.Errorf("with the token that the provider's server has seen, the API server returns %v, want unauthorized", err)
	}
}

// useToken asks the API server something with the token in a file.
func useToken(api *realapi.Server, file string) error {
	config := api.Config()
	config.BearerToken, config.BearerTokenFile = "", file
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.AuthenticationV1().SelfSubjectReviews().Create(context.Background(), &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
	return err
}

func newAccount(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if name == account {
		_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		must(t, err)
	}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(t, err)
}

// delegate lets a ServiceAccount review tokens.
func delegate(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	_, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "review-" + name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}, metav1.CreateOptions{})
	must(t, err)
}

func accountToken(t *testing.T, client kubernetes.Interface, name string, audiences ...string) string {
	t.Helper()
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
		&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	must(t, err)
	return request.Status.Token
}

func writeAccountToken(t *testing.T, client kubernetes.Interface, file, name string, audiences ...string) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(accountToken(t, client, name, audiences...)), 0o600))
}

// servingCA returns the CA of the API server's self-made certificate.
func servingCA(t *testing.T, host string) string {
	t.Helper()
	u, err := url.Parse(host)
	must(t, err)
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- it is learnt here
	conn, err := dialer.DialContext(context.Background(), "tcp", u.Host)
	must(t, err)
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}))
}
