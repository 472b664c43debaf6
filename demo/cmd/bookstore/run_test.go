package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		args []string
		want string // empty: no error
	}{
		"no role":      {nil, `role "": choose one of`},
		"unknown flag": {[]string{"--books=1"}, "flag provided but not defined"},
		"starts and ends": {
			[]string{"--role=bookstore", "--service-address=127.0.0.1:0", "--page-address=127.0.0.2:0", "--drain=0s"}, "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(ended, slog.New(slog.DiscardHandler), tt.args)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("run = %v, want %q", err, tt.want)
			}
		})
	}
}
