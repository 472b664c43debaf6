// Package prompt asks a person at a terminal.
//
// It is the only package that imports survey. Its invariant: it never waits for an answer that nobody
// can give; without a terminal, every question returns ErrNoTerminal at once.
package prompt

import (
	"errors"
	"fmt"
	"os"

	"github.com/AlecAivazis/survey/v2"
	"github.com/AlecAivazis/survey/v2/terminal"
	"golang.org/x/term"
)

// ErrNoTerminal means that there is nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// ErrInterrupted means that the user pressed Ctrl-C at a question.
var ErrInterrupted = errors.New("interrupted")

// Terminal asks on a pair of files if both are terminals.
type Terminal struct {
	In  *os.File
	Out *os.File
}

// Interactive reports whether there is anybody to ask.
func (t Terminal) Interactive() bool {
	return t.In != nil && t.Out != nil && term.IsTerminal(int(t.In.Fd())) && term.IsTerminal(int(t.Out.Fd()))
}

// Confirm asks a yes-no question; plain Enter means no.
func (t Terminal) Confirm(question string) (bool, error) {
	answer := false
	err := t.ask(&survey.Confirm{Message: question}, &answer)
	return answer, err
}

// Input asks for a line of text; plain Enter means the preset. If validate refuses the answer, the
// question is repeated.
func (t Terminal) Input(question, preset string, validate func(string) error) (string, error) {
	answer := ""
	err := t.ask(&survey.Input{Message: question, Default: preset}, &answer, survey.WithValidator(func(value any) error {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("unexpected answer %v", value)
		}
		return validate(text)
	}))
	return answer, err
}

func (t Terminal) ask(question survey.Prompt, answer any, options ...survey.AskOpt) error {
	if !t.Interactive() {
		return ErrNoTerminal
	}
	err := survey.AskOne(question, answer, append(options, survey.WithStdio(t.In, t.Out, t.Out))...)
	if errors.Is(err, terminal.InterruptErr) {
		return ErrInterrupted
	}
	return err
}
