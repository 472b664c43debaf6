package changes

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"sigs.k8s.io/yaml"

	"github.com/osm-edge/osm/pkg/cli/release"
)

// Kind says how an object changes.
type Kind string

// How an object changes.
const (
	Added   Kind = "added"
	Changed Kind = "changed"
	Removed Kind = "removed"
)

// Object is an object that differs between two states.
type Object struct {
	Change    Kind   `json:"change"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Hook      bool   `json:"hook,omitempty"` // part of the install hook
	Diff      string `json:"diff,omitempty"` // unified, of the object as YAML
}

// A diff is cut where it would flood a terminal.
const (
	maxLines = 200
	maxWidth = 240
)

// compareObjects compares two rendered documents.
func (c *Changes) compareObjects(before, after string, diffs bool) error {
	old, err := release.Objects(before)
	if err != nil {
		return err
	}
	now, err := release.Objects(after)
	if err != nil {
		return err
	}
	present := map[string]release.Object{}
	for _, object := range old {
		present[identity(object)] = object
	}
	for _, object := range now {
		was, existed := present[identity(object)]
		delete(present, identity(object))
		switch {
		case !existed:
			err = c.add(Added, release.Object{}, object, diffs)
		case reflect.DeepEqual(was.Fields, object.Fields):
			c.Unchanged++
		default:
			err = c.add(Changed, was, object, diffs)
		}
		if err != nil {
			return err
		}
	}
	for _, object := range old {
		if _, left := present[identity(object)]; !left {
			continue
		}
		delete(present, identity(object))
		if err := c.add(Removed, object, release.Object{}, diffs); err != nil {
			return err
		}
	}
	return nil
}

// identity leaves the version of the API out: an object may move to another one.
func identity(o release.Object) string {
	group, _, grouped := strings.Cut(o.APIVersion, "/")
	if !grouped {
		group = ""
	}
	return strings.Join([]string{group, o.Kind, o.Namespace, o.Name}, "/")
}

// add adds a change from one object to another; one of them may be none.
func (c *Changes) add(change Kind, was, will release.Object, diffs bool) error {
	named := will
	if change == Removed {
		named = was
	}
	object := Object{Change: change, Kind: named.Kind, Namespace: named.Namespace, Name: named.Name, Hook: named.Hook}
	if diffs {
		text, err := unified(was, will)
		if err != nil {
			return fmt.Errorf("compare %s %s: %w", named.Kind, named.Name, err)
		}
		object.Diff = text
	}
	c.Objects = append(c.Objects, object)
	return nil
}

func unified(was, will release.Object) (string, error) {
	conceal := newConcealer()
	old, err := text(conceal, was)
	if err != nil {
		return "", err
	}
	now, err := text(conceal, will)
	if err != nil {
		return "", err
	}
	// The first line is the command line of a diff program.
	_, lines, _ := bytes.Cut(diff.Diff("installed", old, "new", now), []byte("\n"))
	return bounded(string(lines)), nil
}

func text(conceal *concealer, o release.Object) ([]byte, error) {
	if o.Fields == nil {
		return nil, nil
	}
	return yaml.Marshal(conceal.object(o.Kind, o.Fields))
}

// bounded cuts long lines, and the end of a long diff.
func bounded(diff string) string {
	lines := strings.Split(strings.TrimSuffix(diff, "\n"), "\n")
	more := len(lines) - maxLines
	if more > 0 {
		lines = append(lines[:maxLines:maxLines], fmt.Sprintf("[%d more lines]", more))
	}
	for i, line := range lines {
		lines[i] = clip(line, maxWidth)
	}
	return strings.Join(lines, "\n") + "\n"
}

func clip(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return fmt.Sprintf("%s[%d more characters]", string(runes[:width]), len(runes)-width)
}
