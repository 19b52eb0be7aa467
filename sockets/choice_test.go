package sockets

import (
	"context"
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	spare := func(network, local, name string) key {
		return key{kind: unasked, network: network, local: local, name: name, number: 3}
	}
	inherited := []key{
		{kind: opened, network: "tcp", address: ":80", number: 2, local: "[::]:80"},
		{kind: opened, network: "tcp", address: ":80", number: 1, local: "[::]:80"},
		{kind: opened, network: "tcp", address: "127.0.0.1:0", local: "127.0.0.1:4000"},
		{kind: opened, network: "tcp4", address: "0.0.0.0:81", local: "0.0.0.0:81"},
		{kind: opened, network: "udp", address: ":80", local: "[::]:80"},
		{kind: opened, network: "unix", address: "/run/a/../b", local: "/run/a/../b"},
		{kind: opened, network: "unix", address: "@c", local: "@c"},
		spare("tcp", "[::]:90", "web"),
		spare("tcp", "[::]:91", "web"),
		spare("tcp", "[::]:92", "admin"),
		spare("unix", "/run/d", "web"),
		spare("tcp", "[fe80::1%eth0]:93", ""),
	}
	for _, test := range []struct {
		network, address, name string
		want                   int
	}{
		{"tcp", ":80", "", 1},            // the lowest number of the same call
		{"tcp", "0.0.0.0:80", "", 1},     // the same in other words
		{"tcp", "[::]:http", "", 1},      //
		{"tcp6", ":80", "", 1},           //
		{"tcp4", ":80", "", -1},          // that would be the other family only
		{"tcp", "127.0.0.1:80", "", -1},  // that would be less
		{"tcp", ":81", "", 3},            //
		{"tcp6", ":81", "", -1},          //
		{"tcp", "127.0.0.1:0", "", 2},    //
		{"tcp", ":0", "", -1},            // any port, but a new one
		{"tcp", "127.0.0.1:4000", "", 2}, // the port that it got
		{"tcp", "localhost:4000", "", 2}, //
		{"udp", ":80", "", 4},            //
		{"unix", "/run/b", "", 5},        //
		{"unixpacket", "/run/b", "", -1}, //
		{"unix", "@c", "", 6},            //
		{"unix", "c", "", -1},            //
		{"tcp", ":90", "", 7},            // systemd's, by address
		{"tcp", ":1", "web", 7},          // by name
		{"tcp", ":91", "web", 8},         // by both
		{"unix", "/run/x", "web", 10},    // of that network
		{"tcp", ":80", "web", 1},         // the same call goes first
		{"tcp", ":92", "none", 9},        // no such name
		{"tcp", "", "", -1},              //
		{"tcp", "[fe80::1%eth0]:93", "", 11},
		{"tcp", "[fe80::1%eth1]:93", "", -1},
		{"tcp", "no address", "", -1},
	} {
		r := &request{network: test.network, address: test.address, name: test.name}
		if !isUnix(test.network) {
			if err := r.resolve(context.Background()); err != nil {
				t.Errorf("%v: %v", test, err)
			}
		}
		if got := choose(inherited, r); got != test.want {
			t.Errorf("%s %s %s: chose %d, expected %d", test.network, test.address, test.name, got, test.want)
		}
	}
}

func TestKey(t *testing.T) {
	for _, k := range []key{
		{kind: opened, network: "tcp", address: ":80", number: 17, local: "[::]:80"},
		{kind: opened, network: "unix", address: "/a path/with \"quotes\"\n", local: "/a path/with \"quotes\"\n"},
		{kind: activated, network: "unixgram", address: "\x00\xff", local: "", name: "the name"},
		{kind: unasked, network: "udp", local: "[::]:80", name: "dns"},
		{kind: accepted, network: "tcp", address: ":80", local: "[::]:80", name: "3"},
	} {
		if got, ok := parseKey(k.String()); got != k || !ok {
			t.Errorf("%s: parsed as %+v, %v", k, got, ok)
		}
	}
	for _, s := range []string{
		"", "socket", "socket ", "socket tcp/0", `socket tcp/0 "a" "b"`, `socket tcp/x "a" "b" ""`, `socket tcp "a" "b" ""`,
		`socket tcp/0 "a" "b" "" `, `socket tcp/0 "a"  "b" ""`, `socket tcp/0 a "b" ""`, `somebody's own name`, `sock tcp/0 "a" "b" ""`,
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

func TestParseActivation(t *testing.T) {
	for _, test := range []struct {
		activation
		want []string
		err  error
	}{
		{activation{}, nil, nil},
		{activation{"100", "2", "a:b"}, []string{"a", "b"}, nil},
		{activation{"100", "2", ""}, []string{"", ""}, nil},
		{activation{"100", "3", "a::"}, []string{"a", "", ""}, nil},
		{activation{"100", "1", "a:b:c"}, []string{"a"}, nil},
		{activation{"100", "0", ""}, []string{}, nil},
		{activation{"99", "2", ""}, nil, errOtherProcess},
		{activation{"100", "-1", ""}, nil, errMalformed},
		{activation{"100", "1000000", ""}, nil, errMalformed},
		{activation{"100", "", ""}, nil, errMalformed},
		{activation{"", "1", ""}, nil, errMalformed},
		{activation{"100 ", "1", ""}, nil, errMalformed},
		{activation{"4294967396", "1", ""}, nil, errMalformed}, // 100 in 32 bits
	} {
		names, err := test.parse(100)
		if !slices.Equal(names, test.want) || err != test.err {
			t.Errorf("%+v: %q, %v; expected %q, %v", test.activation, names, err, test.want, test.err)
		}
	}
}
