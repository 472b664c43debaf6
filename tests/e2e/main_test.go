//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// environment is the input from scripts/e2e.sh.
type environment struct {
	kubeconfig string
	// osm is the path of the program under test.
	osm string
	// nodeControl is the program that stops nodes and cuts their network, with its flags; nil if there is none.
	nodeControl []string
	// auditLog is the API server's audit log; "" if it cannot be read.
	auditLog string
	// out is the folder for evidence of failures.
	out string
	// The images, as the cluster's nodes know them; without envoy, the chart's.
	controlPlane, envoy, demo, testapp string
	// The certificate providers' images, and the file with cert-manager's definitions; "" where the
	// cluster's nodes could not run them.
	openbao, certManager, definitions string
	// previousOSM and previousImage are the program and the control plane of another commit; "" if there are none.
	previousOSM, previousImage string
}

const (
	varKubeconfig   = "KUBECONFIG"
	varOSM          = "OSM_E2E_OSM"
	varNodeControl  = "OSM_E2E_CLUSTER"
	varAuditLog     = "OSM_E2E_AUDIT_LOG"
	varOut          = "OSM_E2E_OUT"
	varControlPlane = "OSM_E2E_CONTROLPLANE_IMAGE"
	varEnvoy        = "OSM_E2E_ENVOY_IMAGE"
	varDemo         = "OSM_E2E_DEMO_IMAGE"
	varTestapp      = "OSM_E2E_TESTAPP_IMAGE"
	varOpenBao      = "OSM_E2E_OPENBAO_IMAGE"
	varCertManager  = "OSM_E2E_CERT_MANAGER_IMAGE"
	varDefinitions  = "OSM_E2E_CERT_MANAGER_CRDS"

	varPreviousOSM   = "OSM_E2E_PREVIOUS_OSM"
	varPreviousImage = "OSM_E2E_PREVIOUS_IMAGE"
)

func TestMain(m *testing.M) {
	if _, err := readEnvironment(); err != nil {
		fmt.Fprintf(os.Stderr, "tests/e2e needs a cluster and images: %v; scripts/e2e.sh (make e2e) makes both and runs the tests\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func readEnvironment() (environment, error) {
	e := environment{
		kubeconfig: os.Getenv(varKubeconfig),
		osm:        cmp.Or(os.Getenv(varOSM), filepath.Join("..", "..", "bin", "osm")),
		out:        cmp.Or(os.Getenv(varOut), filepath.Join("..", "..", "out", "e2e")),

		nodeControl: strings.Fields(os.Getenv(varNodeControl)),
		auditLog:    os.Getenv(varAuditLog),

		controlPlane: os.Getenv(varControlPlane), envoy: os.Getenv(varEnvoy),
		demo: os.Getenv(varDemo), testapp: os.Getenv(varTestapp),
		openbao: os.Getenv(varOpenBao), certManager: os.Getenv(varCertManager), definitions: os.Getenv(varDefinitions),
		previousOSM: os.Getenv(varPreviousOSM), previousImage: os.Getenv(varPreviousImage),
	}
	var missing []string
	for name, value := range map[string]string{varKubeconfig: e.kubeconfig, varControlPlane: e.controlPlane, varDemo: e.demo, varTestapp: e.testapp} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return e, errors.New("not set: " + strings.Join(missing, ", "))
	}
	var err error
	if e.osm, err = filepath.Abs(e.osm); err != nil {
		return e, fmt.Errorf("find bin/osm: %w", err)
	}
	if _, err := os.Stat(e.osm); err != nil {
		return e, fmt.Errorf("find bin/osm: %w", err)
	}
	return e, nil
}

// imageValues returns the chart values for the images under test.
func (e environment) imageValues() []string {
	repository, tag := cutLast(e.controlPlane, ":")
	registry, _ := cutLast(repository, "/")
	values := []string{"--set=osm.image.registry=" + registry, "--set-string=osm.image.tag=" + tag}
	if e.envoy != "" {
		values = append(values, "--set=osm.sidecarImage="+e.envoy)
	}
	return values
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+len(sep):]
}
