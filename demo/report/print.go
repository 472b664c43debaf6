package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteText writes the screen as lines, with a terminal's colours if colour is set.
func (r *Report) WriteText(w io.Writer, colour bool) error {
	var buf bytes.Buffer
	for _, l := range r.screen() {
		var text strings.Builder
		for _, s := range l {
			if code := ansi(s.style); colour && code != "" {
				fmt.Fprintf(&text, "\x1b[%sm%s\x1b[0m", code, s.text)
				continue
			}
			text.WriteString(s.text)
		}
		buf.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	if _, err := buf.WriteTo(w); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func ansi(s style) string {
	switch s {
	case title:
		return "1"
	case dim:
		return "2"
	case good:
		return "32"
	case bad:
		return "31"
	case plain:
	}
	return ""
}

// WriteJSON writes the whole report, with the result of Missing under "missing".
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	document := struct {
		*Report
		Missing []string `json:"missing"`
	}{r, append([]string{}, r.Missing()...)} // [] rather than null when complete
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// The picture's measures, in pixels: a character of the font is 0.6 of its size wide.
const (
	fontSize   = 13
	charWidth  = 7.8
	lineHeight = 19
	margin     = 22
	barHeight  = 34
)

// WriteSVG draws the screen as a terminal window with command as the command line. The picture
// needs only a monospaced font, and no script.
func (r *Report) WriteSVG(w io.Writer, command string) error {
	lines := append([]line{{{"$ ", dim}, {command, title}}}, r.screen()...)
	columns := 0
	for _, l := range lines {
		n := 0
		for _, s := range l {
			n += utf8.RuneCountInString(s.text)
		}
		columns = max(columns, n)
	}
	width := int(float64(columns)*charWidth) + 2*margin
	height := barHeight + len(lines)*lineHeight + margin

	var buf bytes.Buffer
	fmt.Fprintf(&buf, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Output of %s">
<style>
text { font: %dpx ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9; }
.title { fill: #eceff4; font-weight: 700; } .dim { fill: #7b88a1; } .good { fill: #a3be8c; } .bad { fill: #e06c75; }
</style>
<rect width="100%%" height="100%%" rx="9" fill="#22272e"/>
<circle cx="20" cy="17" r="6" fill="#e06c75"/><circle cx="40" cy="17" r="6" fill="#ebcb8b"/><circle cx="60" cy="17" r="6" fill="#a3be8c"/>
`, width, height, width, height, escaped(command), fontSize)
	for i, l := range lines {
		if len(l) > 0 {
			drawLine(&buf, l, barHeight+(i+1)*lineHeight-lineHeight/4)
		}
	}
	buf.WriteString("</svg>\n")
	if _, err := buf.WriteTo(w); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

// drawLine places each span by its own column, so that columns stay aligned whatever the width
// of the viewer's font.
func drawLine(buf *bytes.Buffer, l line, y int) {
	fmt.Fprintf(buf, `<text y="%d" xml:space="preserve">`, y)
	column := 0
	for _, s := range l {
		if strings.TrimSpace(s.text) != "" {
			fmt.Fprintf(buf, `<tspan x="%.1f"%s>%s</tspan>`, margin+float64(column)*charWidth, class(s.style), escaped(s.text))
		}
		column += utf8.RuneCountInString(s.text)
	}
	buf.WriteString("</text>\n")
}

func class(s style) string {
	switch s {
	case title:
		return ` class="title"`
	case dim:
		return ` class="dim"`
	case good:
		return ` class="good"`
	case bad:
		return ` class="bad"`
	case plain:
	}
	return ""
}

func escaped(s string) string {
	var buf bytes.Buffer
	_ = xml.EscapeText(&buf, []byte(s)) // a bytes.Buffer takes everything
	return buf.String()
}
