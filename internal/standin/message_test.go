//go:build unix

package standin

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// messages has one of each kind.
var messages = []message{
	{kind: started},
	{kind: serve, n: 10000},
	{kind: retire, n: 3600000},
	{kind: ping},
	{kind: pong},
	{kind: ready},
	{kind: rejected, text: "main panicked: no config"},
	{kind: give, n: 300, text: `parked tcp/0 ":8080" "[::]:8080" "7"`, data: []byte("GET / HT")},
	{kind: taken, n: 300},
	{kind: refused, n: 301},
	{kind: signaled, n: 15},
	{kind: farewell},
}

func TestMessages(t *testing.T) {
	for _, m := range append(slices.Clone(messages),
		message{kind: give, n: 1<<64 - 1, text: "a\x00\xff\n", data: bytes.Repeat([]byte{0xff}, 64<<10)},
		message{kind: 255, text: "of a later version"},
	) {
		b := m.encode()
		if len(b) > maxMessage {
			t.Errorf("kind %d: %d bytes", m.kind, len(b))
		}
		m.fd, m.data = 7, append([]byte{}, m.data...)
		if got, err := decode(b, 7); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
		for n := range b[:min(len(b), 100)] {
			if got, err := decode(b[:n], 7); err == nil {
				t.Errorf("%q, cut after %d bytes, became %+v", b, n, got)
			}
		}
		if _, err := decode(append(b, "a later field"...), 7); err != nil {
			t.Errorf("kind %d with a later field: %v", m.kind, err)
		}
	}
}

// TestGoldenMessages: other versions of this library write and read these messages. A golden file is
// never changed; a new form gets a new file.
func TestGoldenMessages(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(readFile(t, "testdata/messages-1.golden"))), "\n")
	for i, line := range lines {
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(messages) {
			t.Fatalf("the message %s is not known", line)
		}
		want := messages[i]
		if written := hex.EncodeToString(want.encode()); written != line {
			t.Errorf("kind %d: this version writes\n%s\nwant\n%s", want.kind, written, line)
		}
		want.data = append([]byte{}, want.data...)
		if got, err := decode(b, 0); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGoldenRecords is TestGoldenMessages for what crosses an exec of each stand-in.
func TestGoldenRecords(t *testing.T) {
	type values struct {
		role        role
		drain, left time.Duration // 0 left unless it retires
	}
	want := []values{
		{serving, 10 * time.Second, 0},
		{retiring, time.Hour, 20*time.Minute + 123*time.Millisecond},
		{retiring, -time.Second, 2 * time.Second},
	}
	synctest.Test(t, func(t *testing.T) {
		var written []string
		for _, v := range want {
			written = append(written, (&StandIn{role: v.role, drain: v.drain, deadline: time.Now().Add(v.left)}).record())
		}
		golden := strings.TrimSpace(string(readFile(t, "testdata/records-1.golden")))
		if got := strings.Join(written, ";"); got != golden {
			t.Errorf("this version writes\n%s\nwant\n%s", got, golden)
		}
		later := strings.TrimSpace(string(readFile(t, "testdata/records-later.golden"))) // with more fields
		for _, text := range []string{golden, later} {
			for i, record := range strings.Split(text, ";") {
				x := new(StandIn)
				x.readRecord(record)
				got := values{role: x.role, drain: x.drain}
				if x.role == retiring {
					got.left = time.Until(x.deadline)
				}
				if got != want[i] {
					t.Errorf("%s: read %+v, want %+v", record, got, want[i])
				}
			}
		}
	})
	// One of another form is killed soon.
	for _, record := range []string{"", "x", "1", "//", "0/10000/0", "3/10000/1200123", "2/10000/x"} {
		x := new(StandIn)
		x.readRecord(record)
		if left := time.Until(x.deadline); x.role != retiring || left > graceTime || left < 0 {
			t.Errorf("%q: role %d, killed after %v", record, x.role, left)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages {
		f.Add(m.encode())
	}
	f.Add([]byte("\x08\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b, -1)
		if err != nil {
			return
		}
		again, err := decode(m.encode(), -1)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzReadRecord(f *testing.F) {
	f.Add("1/10000/0")
	f.Add("2/9223372036854775807/9223372036854775807")
	f.Add("2/-9223372036854775808/-9223372036854775808")
	f.Fuzz(func(t *testing.T, text string) {
		x := new(StandIn)
		x.readRecord(text)
		if x.role != serving && x.role != retiring {
			t.Errorf("role %d", x.role)
		}
	})
}
