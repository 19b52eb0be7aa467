package handover

import (
	"strconv"
	"time"
)

// The times of a restart cross as nanoseconds since 1970, each followed by a slash. The last one
// is that of the execve(2). A [State] is packed before that, with the time of the packing, which
// has a fixed width. It is overwritten right before the execve.

// FormatTimes returns the text of times.
func FormatTimes(times ...time.Time) string {
	var b []byte
	for _, t := range times {
		b = append(strconv.AppendInt(b, t.UnixNano(), 10), '/')
	}
	return string(b)
}

// A stamp is the present time in the text.
type stamp [19]byte // of the years 2001 to 2286

// set needs no memory.
func (t *stamp) set() {
	n := time.Now().UnixNano()
	for i := len(t) - 1; i >= 0; i-- {
		t[i] = byte('0' + n%10)
		n /= 10
	}
}

// addExecuted adds the last one of the times.
func (s *State) addExecuted() {
	if s.Texts[Times] == "" {
		return
	}
	var now stamp
	now.set()
	s.Texts[Times] += string(now[:]) + "/"
}

// stampLast returns the variable for the exec of s, which was packed into the given one, and a
// function that is called right before the execve. What was attested is left as it is.
func (s *State) stampLast(variable string) (stamped string, last func()) {
	now, last := new(stamp), func() {}
	if s.Texts[Times] == "" {
		return variable, last
	}
	head := *s
	head.Numbers[Carrier], head.Numbers[Attester] = nil, nil
	clear(head.Texts[Times+1:])
	place := len(head.String()) - len(now) - len("/,")
	switch carrier := s.Number(Carrier); {
	case carrier != 0:
		last = func() {
			now.set()
			overwrite(carrier, now[:], place)
		}
	case s.Number(Attester) == 0:
		now.set()
		variable = variable[:place] + string(now[:]) + variable[place+len(now):]
	}
	return variable, last
}
