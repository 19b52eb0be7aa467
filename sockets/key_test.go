package sockets

import (
	"testing"
)

func TestParseKey(t *testing.T) {
	for _, k := range []key{
		{kind: opened, network: "tcp", address: ":80", number: 17, local: "[::]:80"},
		{kind: opened, network: "unix", address: "/a path/with \"quotes\"\n", local: "/a path/with \"quotes\"\n"},
		{kind: activated, network: "unixgram", address: "\x00\xff", local: "", name: "the name"},
		{kind: unclaimed, network: "udp", local: "[::]:80", name: "dns"},
		{kind: parked, network: "tcp", address: ":80", local: "[::]:80", name: "3"},
	} {
		if got, ok := parseKey(k.String()); got != k || !ok {
			t.Errorf("%s: parsed as %+v, %v", k, got, ok)
		}
	}
	for _, s := range []string{
		"", "socket", "socket ", "socket tcp/0", `socket tcp/0 "a" "b"`, `socket tcp/x "a" "b" ""`, `socket tcp "a" "b" ""`,
		`socket tcp/0 "a" "b" "" `, `socket tcp/0 "a"  "b" ""`, `socket tcp/0 a "b" ""`, `a name of the program's own`, `sock tcp/0 "a" "b" ""`,
	} {
		if k, ok := parseKey(s); ok {
			t.Errorf("%q: parsed as %+v", s, k)
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
		}
	})
}
