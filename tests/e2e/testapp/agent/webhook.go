package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// A mutating webhook adds a Companion to pods. Its environment variable CompanionSaw has the names of the containers
// that the pod had before, init containers first, separated by spaces.
const (
	Companion     = "companion"
	CompanionSaw  = "SAW"
	PortCompanion = 7500
	PortWebhook   = 8443
	// PathWebhook is the webhook's.
	PathWebhook = "/mutate"
)

// maxReview limits the size of a review, in bytes.
const maxReview = 4 << 20

// reviewOf is the part of a review of a pod that the webhook reads.
type reviewOf struct {
	Request struct {
		UID    string `json:"uid"`
		Object struct {
			Spec struct {
				InitContainers []named `json:"initContainers"`
				Containers     []named `json:"containers"`
			} `json:"spec"`
		} `json:"object"`
	} `json:"request"`
}

type named struct {
	Name string `json:"name"`
}

// addCompanion answers a review with a patch that adds a companion which runs an image.
func addCompanion(image string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
		var review reviewOf
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		spec := review.Request.Object.Spec
		var names []string
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			names = append(names, c.Name)
		}
		patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/spec/containers/-", "value": map[string]any{
			"name": Companion, "image": image, "imagePullPolicy": "IfNotPresent", "args": []string{Companion},
			"env": []any{map[string]string{"name": CompanionSaw, "value": strings.Join(names, " ")}},
			"readinessProbe": map[string]any{
				"httpGet": map[string]any{"path": PathReady, "port": PortCompanion}, "periodSeconds": 1, "timeoutSeconds": 5,
			},
		}}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": map[string]any{
			"uid": review.Request.UID, "allowed": true, "patchType": "JSONPatch", "patch": patch,
		}})
	})
}

// webhook serves reviews until ctx ends, with the certificate in a folder.
func webhook(ctx context.Context, args []string) error {
	const operands = 2
	if len(args) != operands {
		return fmt.Errorf("webhook takes a folder with tls.crt and tls.key, and an image, got %q", args)
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+PathWebhook, addCompanion(args[1]))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	return serveUntil(ctx, server, PortWebhook, func(l net.Listener) error {
		return server.ServeTLS(l, filepath.Join(args[0], "tls.crt"), filepath.Join(args[0], "tls.key"))
	})
}

// companion answers its probe until ctx ends.
func companion(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathReady, func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	return serveUntil(ctx, server, PortCompanion, server.Serve)
}

// serveUntil serves on a port until ctx ends.
func serveUntil(ctx context.Context, server *http.Server, port int, serve func(net.Listener) error) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(listener) })
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	if err := group.Wait(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
