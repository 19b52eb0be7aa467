package fleetlock

import "time"

// info logs a line, if there is a Logger.
func (g *Gate) info(msg string, args ...any) {
	if g.Logger != nil {
		g.Logger.Info(msg, g.with(args)...)
	}
}

// warn logs a line that needs attention, if there is a Logger.
func (g *Gate) warn(msg string, args ...any) {
	if g.Logger != nil {
		g.Logger.Warn(msg, g.with(args)...)
	}
}

// with puts what every line has before the values of a line.
func (g *Gate) with(args []any) []any {
	return append([]any{"url", withoutSecrets(g.server.base), "group", g.Group}, args...)
}

func timestamp(t time.Time) string { return t.Format(time.RFC3339) }
