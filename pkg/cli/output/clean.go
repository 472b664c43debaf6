package output

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes a text safe to print in one line on a terminal. Characters that a terminal would interpret
// (escape sequences, carriage returns, line breaks, bidirectional marks) or not show are escaped.
//
// Names and messages come from a cluster in which others can write: without this, a label could hide a
// row of a table or forge a line that reports success.
func Line(text string) string { return clean(text, false) }

// Text is Line for a text of several lines: it keeps line breaks and tabs.
func Text(text string) string { return clean(text, true) }

func clean(text string, lines bool) string {
	harmless := func(r rune) bool { return unicode.IsPrint(r) || (lines && (r == '\n' || r == '\t')) }
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !harmless(r) }) < 0 {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case harmless(r):
			out.WriteString(text[:size])
		default:
			out.WriteString(escaped(r))
		}
		text = text[size:]
	}
	return out.String()
}

// escaped writes a rune as Go does in a string.
func escaped(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// Lines is a text of several lines as an argument of Sprintf.
type Lines string

// Sprintf is fmt.Sprintf with safe arguments: strings are cleaned by Line; errors, which may have
// several lines, and Lines by Text. The format itself is trusted.
func Sprintf(format string, args ...any) string {
	cleaned := make([]any, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			cleaned[i] = Line(arg)
		case Lines:
			cleaned[i] = Text(string(arg))
		case error:
			cleaned[i] = Text(arg.Error())
		case fmt.Stringer:
			cleaned[i] = Line(arg.String())
		default:
			cleaned[i] = arg
		}
	}
	return Text(fmt.Sprintf(format, cleaned...))
}
