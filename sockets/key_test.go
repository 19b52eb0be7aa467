package sockets

import (
	"os"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/passing"
)

func TestParseKey(t *testing.T) {
	for _, k := range []key{
		{kind: opened, network: "tcp", address: ":80", number: 17, local: "[::]:80"},
		{kind: opened, network: "unix", address: "/a path/with \"quotes\"\n", local: "/a path/with \"quotes\"\n"},
		{kind: activated, network: "unixgram", address: "\x00\xff", local: "", name: "the name"},
		{kind: unclaimed, network: "udp", local: "[::]:80", name: "dns"},
		{kind: parked, network: "tcp", address: ":80", local: "[::]:80", name: "3"},
		{kind: halfClosed, network: "tcp", address: ":80", local: "[::]:80", name: "4"},
		{kind: begun, network: "tcp", address: ":80", local: "[::]:80", name: "5"},
		{kind: unread, network: "tcp", address: ":80", local: "[::]:80", name: "6"},
		{kind: keptFor, network: "udp", address: ":443", local: "[::]:443", name: "7"},
	} {
		if got, ok := parseKey(k.String()); got != k || !ok {
			t.Errorf("%s: parsed as %+v, %v", k, got, ok)
		}
		if passing.ProgramName(k.String()) == k.passedName() {
			t.Errorf("%s is a name of the program, too", k)
		}
	}
	for _, s := range []string{
		"", "socket", "socket ", "socket tcp/0", `socket tcp/0 "a" "b"`, `socket tcp/x "a" "b" ""`, `socket tcp "a" "b" ""`,
		`socket tcp/0 "a" "b" "" `, `socket tcp/0 "a"  "b" ""`, `socket tcp/0 a "b" ""`, `a name of the program's own`,
		`announced tcp/3 "" "[::]:80" "web"`, // is found in place, never by the handover
		`sock tcp/0 "a" "b" ""`,
	} {
		if k, ok := parseKey(s); ok {
			t.Errorf("%q: parsed as %+v", s, k)
		}
	}
}

// TestGoldenFile: keys are what other versions of this library write and read. A golden
// file is never changed; a new form gets a new file.
func TestGoldenFile(t *testing.T) {
	var golden []string
	for _, name := range []string{"keys-1.golden", "keys-2.golden", "keys-3.golden", "keys-4.golden"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		golden = append(golden, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	for i, want := range []key{
		{kind: opened, network: "tcp", address: ":8080", local: "[::]:8080"},
		{kind: opened, network: "unix", address: "/run/a b\n", number: 17, local: "/run/a b\n"},
		{kind: activated, network: "tcp4", address: "0.0.0.0:80", local: "0.0.0.0:80", name: "web"},
		{kind: unclaimed, network: "udp", number: 3, local: "[::]:53", name: "dns"},
		{kind: parked, network: "tcp", address: ":8080", local: "[::]:8080", name: "42"},
		{kind: halfClosed, network: "tcp", address: ":8080", local: "[::]:8080", name: "43"},
		{kind: begun, network: "tcp", address: ":8080", local: "[::]:8080", name: "44"},
		{kind: unread, network: "tcp", address: ":8080", local: "[::]:8080", name: "45"},
		{kind: keptFor, network: "udp", address: ":443", local: "[::]:443", name: "46"},
	} {
		if got, ok := parseKey(golden[i]); got != want || !ok {
			t.Errorf("%s: read %+v, %v; want %+v", golden[i], got, ok, want)
		}
		if want.String() != golden[i] {
			t.Errorf("this version writes %s, want %s", want, golden[i])
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(key{kind: opened, network: "tcp", address: ":80", number: 1, local: "[::]:80"}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := parseKey(s); ok {
			if again, ok := parseKey(k.String()); !ok || again != k {
				t.Errorf("%q: parsed as %+v, and that as %+v", s, k, again)
			}
			if passing.ProgramName(s) == passing.Name(s) {
				t.Errorf("%q: a name of the program is that of %+v", s, k)
			}
		}
	})
}
