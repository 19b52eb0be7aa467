// Package sdnotify sends messages to a service manager, in the protocol of sd_notify(3): one
// datagram for each message, to the Unix socket that $NOTIFY_SOCKET names. Nothing in it waits
// for the receiver, except [Socket.Barrier].
package sdnotify

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxMessage is the length in bytes of the longest message that systemd takes. It drops a longer
// one as a whole.
const MaxMessage = 4096

// ErrFull says that the queue of the receiver has no room, because the receiver has not read the
// messages before. Nothing was sent. The same message may be sent later.
var ErrFull = errors.New("the receiver has not read the messages before this one")

// checkAddress returns an error unless address is one that Open takes, and pathSize is the size
// of a socket address.
func checkAddress(address string, pathSize int) error {
	unusable := func(is, instead string) error {
		return errors.New("notify socket " + strconv.Quote(shorten(address, 2*pathSize)) + ": found " + is + ", expected " + instead)
	}
	const expected = "an absolute path, or an abstract name that begins with @"
	kind, _, hasKind := strings.Cut(address, ":")
	switch {
	case address == "" || address == "@":
		return unusable("no name", expected)
	case strings.Contains(address, "\x00"):
		return unusable("a NUL byte", expected)
	case (address[0] == '@' || address[0] == '/') && len(address) >= pathSize: // one is for a NUL byte
		return unusable(strconv.Itoa(len(address))+" bytes", "at most "+strconv.Itoa(pathSize-1))
	case address[0] == '@' || address[0] == '/':
		return nil
	case hasKind && !strings.Contains(kind, "/"):
		return unusable("an address of the kind "+shorten(kind, pathSize), expected)
	default:
		return unusable("a relative path", expected)
	}
}

// A Message is what this library says in one datagram. A field of the zero value is left out.
type Message struct {
	Reloading time.Duration // RELOADING=1, and MONOTONIC_USEC with this time, see [Monotonic]
	Ready     bool          // READY=1
	Extend    time.Duration // EXTEND_TIMEOUT_USEC
	Stopping  bool          // STOPPING=1
	Watchdog  bool          // WATCHDOG=1, which systemd evaluates after EXTEND_TIMEOUT_USEC
	Status    string        // STATUS, as [Line] returns it
}

// String returns the message as text. A status that is too long for [MaxMessage] is cut.
func (m Message) String() string {
	var fields []string
	if m.Reloading != 0 {
		fields = append(fields, "RELOADING=1", "MONOTONIC_USEC="+microseconds(m.Reloading))
	}
	if m.Ready {
		fields = append(fields, "READY=1")
	}
	if m.Stopping {
		fields = append(fields, "STOPPING=1")
	}
	if m.Extend != 0 {
		fields = append(fields, "EXTEND_TIMEOUT_USEC="+microseconds(m.Extend))
	}
	if m.Watchdog {
		fields = append(fields, "WATCHDOG=1")
	}
	text := strings.Join(fields, "\n")
	if m.Status == "" {
		return text
	}
	if text != "" {
		text += "\n"
	}
	text += "STATUS="
	return text + shorten(Line(m.Status), MaxMessage-len(text))
}

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

// add has m say what m and then later would say one after the other. Systemd evaluates READY
// after RELOADING, and WATCHDOG after EXTEND_TIMEOUT_USEC.
func (m *Message) add(later Message) {
	if later.Reloading != 0 {
		m.Reloading, m.Ready = later.Reloading, false
	}
	m.Ready = m.Ready || later.Ready
	m.Stopping = m.Stopping || later.Stopping
	if later.Extend != 0 {
		m.Extend, m.Watchdog = later.Extend, false // WATCHDOG would undo the extension
	}
	m.Watchdog = m.Watchdog || later.Watchdog
	if later.Status != "" {
		m.Status = later.Status
	}
}

// Line returns s as the value of a field: a newline would begin another field. Each run of
// control characters and line separators becomes a space, and what is not UTF-8 a replacement
// character.
func Line(s string) string {
	breaks := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, breaks) {
		return s
	}
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "�"), breaks), " ")
}

const ellipsis = "…"

// shorten cuts s to a length in bytes, at a rune, and marks the cut.
func shorten(s string, length int) string {
	if len(s) <= length {
		return s
	}
	end := length - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:max(0, end)] + ellipsis
}
