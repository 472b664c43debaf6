package pki

import (
	"encoding/base64"
	"fmt"
	"os"
)

// kubeconfigForm names the cluster, the user and the context alike, so that merging it with another file keeps both.
const kubeconfigForm = `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s
current-context: %[1]s
`

// Kubeconfig writes to path a self-contained kubeconfig for server with the credentials of the leaf called leaf.
func (a *Authority) Kubeconfig(path, context, server, leaf string) error {
	args := []any{context, server}
	for _, file := range []string{a.CertFile("ca"), a.CertFile(leaf), a.KeyFile(leaf)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read credentials for %s: %w", path, err)
		}
		args = append(args, base64.StdEncoding.EncodeToString(content))
	}
	content := fmt.Sprintf(kubeconfigForm, args...)
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	return writeFile(path, []byte(content))
}
