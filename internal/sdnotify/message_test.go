package sdnotify

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMessage(t *testing.T) {
	for want, m := range map[string]Message{
		"READY=1": {Ready: true},
		"RELOADING=1\nMONOTONIC_USEC=1500000\nREADY=1\nSTATUS=v1 serves": {
			Reloading: 1500 * time.Millisecond, Ready: true, Status: "v1 serves",
		},
		"EXTEND_TIMEOUT_USEC=2000000\nWATCHDOG=1": {Extend: 2 * time.Second, Watchdog: true},
		"STATUS=failed: READY=1":                  {Status: "failed:\r\nREADY=1\n"},
	} {
		if got := m.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A text can't end a field or begin another one, and is UTF-8: systemd ignores any other status.
func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain text":                    "plain text",
		"":                              "",
		"a\nb":                          "a b",
		"\n\na\x00\x01\r\n b\t":         "a  b",
		"one\u2028two\u2029three\u0085": "one two three",
		"not \xff UTF-8":                "not � UTF-8",
		"ä\n\xc3":                       "ä �",
	} {
		if got := Line(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add("v1 serves")
	f.Add("a\nREADY=1\n\xff\x00")
	f.Add(strings.Repeat("ä", 3000))
	f.Fuzz(func(t *testing.T, status string) {
		m := Message{Reloading: time.Second, Ready: true, Status: "x" + status}
		text := m.String()
		if len(text) > MaxMessage || strings.Count(text, "\n") != 3 || strings.ContainsAny(text, "\x00\r") || !utf8.ValidString(text) {
			t.Errorf("%q", text)
		}
	})
}

// A status is cut at a rune, and only as far as necessary.
func TestLongStatus(t *testing.T) {
	for _, status := range []string{strings.Repeat("x", 5000), strings.Repeat("ä", 2500), "x" + strings.Repeat("ä", 2500), strings.Repeat("\U0001f600", 2000)} {
		text := Message{Ready: true, Status: status}.String()
		if len(text) > MaxMessage || len(text) < MaxMessage-3 || !utf8.ValidString(text) || !strings.HasSuffix(text, "…") {
			t.Errorf("%d bytes, which end with %q", len(text), text[len(text)-8:])
		}
	}
	fits := strings.Repeat("x", MaxMessage-len("STATUS="))
	if text := (Message{Status: fits}).String(); text != "STATUS="+fits {
		t.Error("a status that fits is cut")
	}
}

// Messages that wait become one with the same effect: systemd evaluates RELOADING before READY, and
// EXTEND_TIMEOUT_USEC before WATCHDOG.
func TestMessagesBecomeOne(t *testing.T) {
	for _, test := range []struct {
		messages []Message
		want     string
	}{
		{[]Message{{Status: "a"}, {Status: "b"}}, "STATUS=b"},
		{[]Message{{Watchdog: true}, {Watchdog: true}, {Status: "a"}}, "WATCHDOG=1\nSTATUS=a"},
		{[]Message{{Reloading: 1000}, {Ready: true}}, "RELOADING=1\nMONOTONIC_USEC=1\nREADY=1"},
		{[]Message{{Ready: true}, {Reloading: 1000}}, "RELOADING=1\nMONOTONIC_USEC=1"},
		{[]Message{{Reloading: 1000, Ready: true}, {Reloading: 2000, Ready: true}}, "RELOADING=1\nMONOTONIC_USEC=2\nREADY=1"},
		{[]Message{{Watchdog: true}, {Extend: 1000}}, "EXTEND_TIMEOUT_USEC=1"},
		{[]Message{{Extend: 1000}, {Watchdog: true}}, "EXTEND_TIMEOUT_USEC=1\nWATCHDOG=1"},
		{[]Message{{Extend: 1000}, {Extend: 2000}}, "EXTEND_TIMEOUT_USEC=2"},
	} {
		var one Message
		for _, m := range test.messages {
			one.add(m)
		}
		if got := one.String(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.messages, got, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	const size = 108
	for address, want := range map[string]string{
		"/run/systemd/notify":             "",
		"@abstract":                       "",
		"/" + strings.Repeat("x", size-2): "",
		"@" + strings.Repeat("x", size-2): "",
		"/" + strings.Repeat("x", size-1): "found 108 bytes, expected at most 107",
		"@" + strings.Repeat("x", size):   "found 109 bytes, expected at most 107",
		"":                                "found no name",
		"@":                               "found no name",
		"notify":                          "found a relative path, expected an absolute path",
		"run/notify:1":                    "found a relative path",
		"vsock:2:1234":                    "found an address of the kind vsock",
		"vsock-stream:2:1234":             "found an address of the kind vsock-stream",
		"/a\x00b":                         "found a NUL byte",
	} {
		err := checkAddress(address, size)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
	if err := checkAddress(strings.Repeat("x", 1<<20), size); len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
