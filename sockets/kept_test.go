package sockets

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestKeptPacketsAreEncoded(t *testing.T) {
	var k keptPackets
	for _, p := range []keptPacket{
		{netip.MustParseAddrPort("127.0.0.1:443"), []byte("data"), nil},
		{netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), nil, []byte{1, 2, 3}},
		{netip.MustParseAddrPort("[fe80::1%eth0]:65535"), []byte{0}, []byte{0}},
	} {
		k.add(p)
	}
	decoded := decodeKept(k.encode())
	if decoded.size != k.size || len(decoded.list) != len(k.list) {
		t.Fatalf("%+v, want %+v", decoded, k)
	}
	for i, p := range decoded.list {
		if want := k.list[i]; p.from != want.from || string(p.data) != string(want.data) || string(p.oob) != string(want.oob) {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	for range k.list {
		k.next()
	}
	if _, ok := k.next(); ok || k.size != 0 {
		t.Errorf("%d bytes are left", k.size)
	}
}

// TestGoldenPackets: other versions of this library write and read these packets. The golden file is
// never changed.
func TestGoldenPackets(t *testing.T) {
	golden, err := os.ReadFile("testdata/packets-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	var want keptPackets
	want.add(keptPacket{from: netip.MustParseAddrPort("192.0.2.7:50110"), data: []byte("hello")})
	want.add(keptPacket{from: netip.MustParseAddrPort("[2001:db8::1]:443"), oob: []byte{1, 2}})
	if b := want.encode(); string(b) != string(golden) {
		t.Errorf("this version writes %q, want %q", b, golden)
	}
	if k := decodeKept(golden); string(k.encode()) != string(golden) {
		t.Errorf("read %+v", k)
	}
}

func TestNumberOfKeptPacketsIsLimited(t *testing.T) {
	from := netip.MustParseAddrPort("127.0.0.1:443")
	for _, test := range []struct{ size, kept int }{
		{1, maxKeptPackets},
		{1 << 16, maxKeptBytes >> 16},
	} {
		var k keptPackets
		for range maxKeptPackets + 10 {
			k.add(keptPacket{from: from, data: make([]byte, test.size)})
		}
		if n := len(k.list); n != test.kept {
			t.Errorf("kept %d packets of %d bytes, want %d", n, test.size, test.kept)
		}
		if n, again := k.takeDropped(), k.takeDropped(); n != maxKeptPackets+10-test.kept || again != 0 {
			t.Errorf("dropped %d packets, and then %d", n, again)
		}
	}
}

// What is damaged, or of a later version, is dropped.
func TestDamagedKeptPackets(t *testing.T) {
	whole := keptPackets{list: []keptPacket{{netip.MustParseAddrPort("127.0.0.1:443"), []byte("data"), nil}}}
	b := whole.encode()
	for n := range b {
		if k := decodeKept(b[:n]); len(k.list) > 0 {
			t.Errorf("decoded %+v of the first %d bytes", k, n)
		}
	}
	if k := decodeKept([]byte(strings.Replace(string(b), " 1", " 2", 1))); len(k.list) > 0 {
		t.Errorf("decoded %+v of another format", k)
	}
	if k := decodeKept(append(b, b[len(keptFormat):len(b)-1]...)); len(k.list) != 1 {
		t.Errorf("decoded %+v before the damage", k)
	}
}

func FuzzDecodeKept(f *testing.F) {
	k := keptPackets{list: []keptPacket{{netip.MustParseAddrPort("[::1]:443"), []byte("data"), []byte("control")}}}
	f.Add(k.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		k := decodeKept(b)
		if again := decodeKept(k.encode()); !reflect.DeepEqual(again, k) {
			t.Errorf("%+v, and again %+v", k, again)
		}
	})
}
