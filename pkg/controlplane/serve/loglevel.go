package serve

import (
	"fmt"
	"log/slog"
)

// LogLevel is a log level that can change while the process runs: the one it was started with,
// unless the mesh's configuration names another. It is a slog.Leveler.
type LogLevel struct {
	start   slog.Level
	current slog.LevelVar
}

// NewLogLevel returns the level of that name: debug, info, warn or error.
func NewLogLevel(name string) (*LogLevel, error) {
	l := &LogLevel{}
	if err := l.start.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", name)
	}
	l.current.Set(l.start)
	return l, nil
}

// Level returns the level in force.
func (l *LogLevel) Level() slog.Level { return l.current.Level() }

// Override puts the named level in force. With an empty or unknown name the level is again the one that the
// process was started with. A nil LogLevel ignores the call.
func (l *LogLevel) Override(name string) {
	if l == nil {
		return
	}
	level := l.start
	if name == "" || level.UnmarshalText([]byte(name)) != nil {
		level = l.start
	}
	l.current.Set(level)
}
