package notices

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

const preamble = `Third-party notices

The programs osm and osm-controlplane contain the modules below. This file lists them with their licenses,
and repeats the texts that must accompany the programs. A text that several modules share appears
once. The file is generated: run "make generate" after a change of go.mod.
`

// rule separates the texts.
var rule = strings.Repeat("-", 80)

// Write writes the table of the parts, then each distinct text once under the names of its parts.
func Write(w io.Writer, parts []Part) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, preamble+"\n")
	for _, p := range parts {
		fmt.Fprintf(out, "%s  %s\n", strings.TrimSpace(p.Module+" "+p.Version), strings.Join(p.Licences, ", "))
	}
	for _, text := range distinct(parts) {
		fmt.Fprintf(out, "\n%s\n%s\n%s\n\n%s", rule, strings.Join(text.owners, "\n"), rule, text.content)
	}
	return out.Flush()
}

// shared is a text with its owners.
type shared struct {
	content string
	owners  []string
}

// distinct returns each text once, in the order of first occurrence. Line breaks are ignored.
func distinct(parts []Part) []*shared {
	var order []*shared
	known := map[string]*shared{}
	for _, p := range parts {
		for _, text := range p.Texts {
			words := strings.Join(strings.Fields(text.Content), " ")
			if known[words] == nil {
				known[words] = &shared{content: text.Content}
				order = append(order, known[words])
			}
			known[words].owners = append(known[words].owners, p.Module+", "+text.Name)
		}
	}
	return order
}
