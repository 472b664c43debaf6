package kube

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// recordingClient is a client that records the requested resource version.
type recordingClient struct{ version string }

func (a *recordingClient) List(_ context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
	a.version = options.ResourceVersion
	return &corev1.PodList{}, nil
}

func (a *recordingClient) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// A reflector's first list has resource version "0", which accepts any state in the API server's cache, however old.
func TestListsAskForWhatIs(t *testing.T) {
	for given, want := range map[string]string{"0": "", "": "", "42": "42"} {
		client := &recordingClient{version: "not requested"}
		if _, err := listWatch(client, "").ListWithContextFunc(t.Context(), metav1.ListOptions{ResourceVersion: given}); err != nil {
			t.Fatal(err)
		}
		if client.version != want {
			t.Errorf("version %q was requested as %q, want %q", given, client.version, want)
		}
	}
}
