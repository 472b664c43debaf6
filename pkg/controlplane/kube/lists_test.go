package kube

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// asked is a client that remembers what it was asked for.
type asked struct{ version string }

func (a *asked) List(_ context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
	a.version = options.ResourceVersion
	return &corev1.PodList{}, nil
}

func (a *asked) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// A reflector's first list says "0": whatever the API server has in its cache, however old.
func TestListsAskForWhatIs(t *testing.T) {
	for given, want := range map[string]string{"0": "", "": "", "42": "42"} {
		client := &asked{version: "not asked"}
		if _, err := listWatch(client, "").ListWithContextFunc(t.Context(), metav1.ListOptions{ResourceVersion: given}); err != nil {
			t.Fatal(err)
		}
		if client.version != want {
			t.Errorf("version %q was asked for as %q, want %q", given, client.version, want)
		}
	}
}
