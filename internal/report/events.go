package report

// Events are those of one observer. They take the way of log lines: in their order, on a
// goroutine that exists while there are events. The zero value is ready.
type Events struct {
	lost int // since the last event; guarded by linesMu
}

// Add has observe called, with the number of events that were lost before this one: there was
// no room for them, or observe has panicked.
func (e *Events) Add(observe func(lost int)) { add(&line{to: e, event: observe}) }

// Lose says that n events were lost.
func (e *Events) Lose(n int) { add(&line{to: e, dropped: n}) }

func (e *Events) observe(l *line) {
	if l.event == nil {
		e.addLost(l.dropped)
		return
	}
	lost := e.addLost(0)
	l.event(lost)
	e.addLost(-lost)
}

func (e *Events) addLost(n int) (lost int) {
	linesMu.Lock()
	defer linesMu.Unlock()
	e.lost += n
	return e.lost
}
