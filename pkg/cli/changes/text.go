package changes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/osm-edge/osm/pkg/cli/output"
)

// maxCell is how much of a setting's value a table shows.
const maxCell = 60

// Write writes the changes for people: the settings, the objects and, if they were compared, their diffs. It writes
// nothing if there are none.
func (c Changes) Write(out io.Writer) error {
	if c.Empty() {
		return nil
	}
	if c.Chart != nil {
		fmt.Fprint(out, output.Sprintf("chart %s -> %s\n\n", c.Chart.Old, c.Chart.New))
	}
	if len(c.Settings) > 0 {
		grid := output.Grid{Header: []string{"SETTING", "OLD", "NEW"}}
		for _, s := range c.Settings {
			grid.Rows = append(grid.Rows, []string{s.Key, cell(s.Old, s.OldDefault), cell(s.New, s.NewDefault)})
		}
		if err := grid.Write(out); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	if err := c.writeObjects(out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, c.summary())
	return err
}

func (c Changes) writeObjects(out io.Writer) error {
	if len(c.Objects) == 0 {
		return nil
	}
	grid := output.Grid{Header: []string{"CHANGE", "KIND", "NAMESPACE", "NAME"}}
	for _, o := range c.Objects {
		grid.Rows = append(grid.Rows, []string{string(o.Change), o.Kind, o.Namespace, o.title(o.Name)})
	}
	if err := grid.Write(out); err != nil {
		return err
	}
	for _, o := range c.Objects {
		if o.Diff == "" {
			continue
		}
		name := strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
		fmt.Fprint(out, output.Sprintf("\n%s %s %s\n%s", string(o.Change), o.Kind, o.title(name), output.Lines(o.Diff)))
	}
	_, err := fmt.Fprintln(out)
	return err
}

func (o Object) title(name string) string {
	if o.Hook {
		return name + " (install hook)"
	}
	return name
}

func (c Changes) summary() string {
	count := map[Kind]int{}
	for _, o := range c.Objects {
		count[o.Change]++
	}
	return fmt.Sprintf("%d object(s) added, %d changed, %d removed, %d unchanged", count[Added], count[Changed], count[Removed], c.Unchanged)
}

func cell(value any, isDefault bool) string {
	var text string
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		text = cmp.Or(value, `""`)
	default:
		data, err := json.Marshal(value)
		if err != nil {
			return err.Error()
		}
		text = string(data)
	}
	text = clip(text, maxCell)
	if isDefault {
		text += " (default)"
	}
	return text
}
