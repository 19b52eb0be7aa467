package sockets

import (
	"context"
	"testing"
)

func TestBestMatch(t *testing.T) {
	unclaimedKey := func(network, local, name string) key {
		return key{kind: unclaimed, network: network, local: local, name: name, number: 3}
	}
	announcedKey := func(number int, network, local, name string) key {
		return key{kind: announced, network: network, local: local, name: name, number: number}
	}
	inherited := []key{
		{kind: opened, network: "tcp", address: ":80", number: 2, local: "[::]:80"},
		{kind: opened, network: "tcp", address: ":80", number: 1, local: "[::]:80"},
		{kind: opened, network: "tcp", address: "127.0.0.1:0", local: "127.0.0.1:4000"},
		{kind: opened, network: "tcp4", address: "0.0.0.0:81", local: "0.0.0.0:81"},
		{kind: opened, network: "udp", address: ":80", local: "[::]:80"},
		{kind: opened, network: "unix", address: "/run/a/../b", local: "/run/a/../b"},
		{kind: opened, network: "unix", address: "@c", local: "@c"},
		unclaimedKey("tcp", "[::]:90", "web"),
		unclaimedKey("tcp", "[::]:91", "web"),
		unclaimedKey("tcp", "[::]:92", "admin"),
		unclaimedKey("unix", "/run/d", "web"),
		unclaimedKey("tcp", "[fe80::1%eth0]:93", ""),
		announcedKey(5, "tcp", "[::]:94", "second"),
		announcedKey(4, "tcp", "[::]:94", "first"),
		announcedKey(3, "tcp", "[::]:80", "opened, too"),
		announcedKey(6, "unix", "", "unbound"),
		{kind: opened, network: "unix", address: "/run/e", local: "/run/e"},
		announcedKey(7, "unix", "/run//e", ""),
	}
	for _, test := range []struct {
		network, address, name string
		want                   int
	}{
		{"tcp", ":80", "", 1},            // the lowest number of the same call
		{"tcp", "0.0.0.0:80", "", 1},     // the same socket, written differently
		{"tcp", "[::]:http", "", 1},      //
		{"tcp6", ":80", "", 1},           //
		{"tcp4", ":80", "", -1},          // narrower: IPv4 only
		{"tcp", "127.0.0.1:80", "", -1},  // narrower: one address
		{"tcp", ":81", "", 3},            //
		{"tcp6", ":81", "", -1},          //
		{"tcp", "127.0.0.1:0", "", 2},    //
		{"tcp", ":0", "", -1},            // any port, but a new socket
		{"tcp", "127.0.0.1:4000", "", 2}, // the port that it is bound to
		{"tcp", "localhost:4000", "", 2}, //
		{"udp", ":80", "", 4},            //
		{"unix", "/run/b", "", 5},        //
		{"unixpacket", "/run/b", "", -1}, //
		{"unix", "@c", "", 6},            //
		{"unix", "c", "", -1},            //
		{"tcp", ":90", "", 7},            // of systemd, by address
		{"tcp", ":1", "web", 7},          // by name
		{"tcp", ":91", "web", 8},         // by name and address
		{"unix", "/run/x", "web", 10},    // the one of that network
		{"tcp", ":80", "web", 1},         // the same call comes first
		{"tcp", ":92", "none", 9},        // no such name
		{"tcp", "", "", -1},              //
		{"tcp", "[fe80::1%eth0]:93", "", 11},
		{"tcp", "[fe80::1%eth1]:93", "", -1},
		{"tcp", "no address", "", -1},
		{"tcp", ":94", "", 13},           // announced, in their order
		{"tcp", ":94", "second", 12},     //
		{"tcp", ":80", "opened, too", 1}, // the same call comes first
		{"unix", "", "", -1},             // not a call of this package
		{"unix", "/run/e", "", 17},       // systemd has bound the path anew
	} {
		r := &request{network: test.network, address: test.address, name: test.name}
		if !isUnix(test.network) {
			if err := r.resolve(context.Background()); err != nil {
				t.Errorf("%v: %v", test, err)
			}
		}
		if got := bestMatch(inherited, r); got != test.want {
			t.Errorf("%s %s %s: chose %d, expected %d", test.network, test.address, test.name, got, test.want)
		}
	}
}
