package inspect

import (
	"reflect"
	"strings"
	"testing"
)

const status = `Name:	app
Umask:	0022
Uid:	1000	0	1000	0
Gid:	100	200	300	400
Groups:	100 4294967295 
CapInh:	0000000000000000
CapPrm:	000001ffffffffff
CapEff:	0000000000000400
`

func TestParseStatus(t *testing.T) {
	want := credentials{
		UIDs: [3]uint32{1000, 0, 1000}, GIDs: [3]uint32{100, 200, 300}, Groups: []uint32{100, 1<<32 - 1},
		Permitted: 1<<41 - 1, Effective: 1 << 10,
	}
	got, err := parseStatus(status)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got, err := parseStatus(strings.Replace(status, "100 4294967295 ", "", 1)); err != nil || len(got.Groups) != 0 {
		t.Errorf("without groups: %+v, %v", got, err)
	}
	for _, change := range [][2]string{
		{"1000	0	1000	0", "1000	0"},
		{"4294967295", "4294967296"},
		{"0000000000000400", "0000000000000x00"},
		{"Groups:", "Group:"},
	} {
		if got, err := parseStatus(strings.Replace(status, change[0], change[1], 1)); err == nil {
			t.Errorf("with %q: %+v", change[1], got)
		}
	}
}

func TestCredentialsInNamespace(t *testing.T) {
	uids, err := parseIDMap("         0     100000       1000\n      5000          7          1\n")
	if err != nil {
		t.Fatal(err)
	}
	gids, err := parseIDMap("         0          0 4294967295\n")
	if err != nil {
		t.Fatal(err)
	}
	c := credentials{UIDs: [3]uint32{100000, 100999, 7}, GIDs: [3]uint32{1, 2, 3}, Groups: []uint32{5, 1<<32 - 1}}
	got, err := c.in(uids, gids)
	if want := (credentials{UIDs: [3]uint32{0, 999, 5000}, GIDs: [3]uint32{1, 2, 3}, Groups: []uint32{5}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, uid := range []uint32{0, 8, 99999, 101000} {
		if got, err := (credentials{UIDs: [3]uint32{uid, uid, uid}}).in(uids, gids); err == nil {
			t.Errorf("UID %d: %+v", uid, got)
		}
	}
	if m, err := parseIDMap("0 0\n"); err == nil {
		t.Errorf("a line of two numbers: %v", m)
	}
}
