package output

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes a text harmless for a terminal and for the line that it stands in. What a terminal
// would not print but act on (escape sequences, carriage returns, line breaks, marks that turn the
// direction of writing) is shown as an escape, and so is what it would not show at all.
//
// Names and messages come from a cluster in which others write: without this, a label could hide a
// row of a table or forge the line that says that all is well.
func Line(text string) string { return clean(text, false) }

// Text is Line for a text of several lines: line breaks and tabs stay.
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

// Sprintf is fmt.Sprintf with harmless arguments: strings are cleaned by Line; errors, which may
// list several things below each other, and Lines by Text. The format is the program's own.
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
