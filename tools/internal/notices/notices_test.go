package notices

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// MIT's text, which the tests vary.
const mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`

// copyleft is the licence notice of GNU programs.
const copyleft = `This program is free software: you can redistribute it and/or modify it under the terms of the GNU General
Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any
later version.
`

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		texts []Text
		want  string // the licences, or part of the error
		fails bool
	}{
		"MIT":              {[]Text{{"LICENSE", "Copyright 2020 A\n\n" + mit}}, "MIT", false},
		"with a notice":    {[]Text{{"LICENSE", mit}, {"NOTICE", "made by A, who says much about it"}}, "MIT", false},
		"two of a kind":    {[]Text{{"LICENSE", mit}, {"forked/LICENSE", mit}}, "MIT", false},
		"none":             {nil, "has no license file", true},
		"a notice alone":   {[]Text{{"NOTICE", "made by A"}}, "has no license file", true},
		"unknown":          {[]Text{{"LICENSE", "Do as you like on Sundays."}}, "is not a known license", true},
		"mostly unknown":   {[]Text{{"LICENSE", mit + strings.Repeat("But not on Mondays, and not in spring. ", 200)}}, "is not a known license", true},
		"not allowed":      {[]Text{{"LICENSE", copyleft}}, "not on the list", true},
		"one of them not":  {[]Text{{"LICENSE", mit}, {"forked/COPYING", copyleft}}, "not on the list", true},
		"an empty licence": {[]Text{{"LICENSE", "\n"}}, "is not a known license", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := Part{Module: "example.com/a", Texts: tt.texts}
			err := p.check()
			got := strings.Join(p.Licences, " ")
			if tt.fails {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "example.com/a") {
					t.Errorf("licences %q, error %v; want %q", got, err, tt.want)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("licences %q, error %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestAdd: texts in a package's folder and in those above it count, those beside it do not.
func TestAdd(t *testing.T) {
	module := t.TempDir()
	for _, name := range []string{
		"LICENSE", "LICENSE.docs", "license.go", "forked/Licence.txt", "forked/deep/notice.md", "forked/deep/a.go", "other/COPYING",
	} {
		file := filepath.Join(module, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("of "+name+"  \r\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var p Part
	seen := map[string]bool{}
	for range 2 { // the second package of a folder adds nothing
		if err := p.add(module, filepath.Join(module, "forked/deep"), seen); err != nil {
			t.Fatal(err)
		}
	}
	want := []Text{{"forked/deep/notice.md", "of forked/deep/notice.md\n"}, {"forked/Licence.txt", "of forked/Licence.txt\n"}, {"LICENSE", "of LICENSE\n"}}
	// license.go is source.
	if !slices.Equal(p.Texts, want) {
		t.Errorf("got %q, want %q", p.Texts, want)
	}
	if err := p.add(module, filepath.Dir(module), seen); err == nil {
		t.Error("a folder outside the module was read")
	}
}

func TestWrite(t *testing.T) {
	var out strings.Builder
	err := Write(&out, []Part{
		{Module: "a", Version: "v1", Licences: []string{"MIT"}, Texts: []Text{{"LICENSE", "one\ntwo\n"}}},
		{Module: "b", Version: "v2", Licences: []string{"ISC", "MIT"}, Texts: []Text{{"COPYING", "one two\n"}, {"x/LICENSE", "three\n"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "a v1  MIT\nb v2  ISC, MIT\n\n" + rule + "\na, LICENSE\nb, COPYING\n" + rule + "\n\none\ntwo\n\n" + rule + "\nb, x/LICENSE\n" + rule + "\n\nthree\n"
	if got := strings.TrimPrefix(out.String(), preamble+"\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestOwnModule: the modules compiled into this one are found, with the same output each time.
func TestOwnModule(t *testing.T) {
	parts, err := Collect(t.Context(), "../..", []string{"./notices"})
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 1 || parts[0].Module != "github.com/google/licensecheck" || !slices.Equal(parts[0].Licences, []string{"BSD-3-Clause"}) {
		t.Errorf("got %+v", parts)
	}
	if _, err := Collect(t.Context(), "../..", []string{"./none"}); err == nil {
		t.Error("a nonexistent package was found")
	}
	if _, err := Collect(t.Context(), "../..", nil); err == nil {
		t.Error("no error without packages")
	}
}
