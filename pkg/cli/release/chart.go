package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// Chart is a loaded Helm chart. It is read-only.
type Chart struct {
	chart *chart.Chart
}

// Load reads a chart whose Chart.yaml lies at the root of files.
func Load(files fs.FS) (*Chart, error) {
	var buffered []*loader.BufferedFile
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		buffered = append(buffered, &loader.BufferedFile{Name: path, Data: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded chart: %w", err)
	}
	loaded, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, fmt.Errorf("load the embedded chart: %w", err)
	}
	return &Chart{loaded}, nil
}

// LoadPath reads a chart from a directory or a .tgz file.
func LoadPath(path string) (*Chart, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no chart at %q: give the directory or the .tgz file of a chart, or leave --osm-chart-path out to use the built-in one", path)
	}
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("load the chart at %q: %w", path, err)
	}
	return &Chart{loaded}, nil
}

// Version is the chart's own version.
func (c *Chart) Version() string { return c.chart.Metadata.Version }

// AppVersion is the version of osm that the chart installs by default.
func (c *Chart) AppVersion() string { return c.chart.Metadata.AppVersion }

// What distinguishes the charts of this osm from those of Open Service Mesh and osm-edge, which have the
// same name: the annotation or, in charts older than it, a template that only they have.
const (
	distributionKey   = "openservicemesh.io/distribution"
	distributionValue = "osm-ha"
	ownTemplate       = "templates/bootstrap-job.yaml"
)

// Foreign names a chart that is not this osm's, such as "osm-edge 1.3.9"; it is "" for this osm's own.
func (c *Chart) Foreign() string {
	metadata := c.chart.Metadata
	if metadata.Annotations[distributionKey] == distributionValue {
		return ""
	}
	for _, template := range c.chart.Templates {
		if template != nil && metadata.Name == "osm" && template.Name == ownTemplate {
			return ""
		}
	}
	return metadata.Name + " " + metadata.Version
}
