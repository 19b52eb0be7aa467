package candidate

import (
	"strings"
	"testing"
)

func TestIDRoundTrip(t *testing.T) {
	id := ID{Dev: 1, Ino: 1<<64 - 1, Size: 1 << 40, Mtime: -1, Ctime: 1 << 62, UID: 1<<32 - 1, GID: 5, Perm: 0o755, Regular: true}
	if got := ParseID(id.Format()); got != id {
		t.Errorf("got %+v, want %+v", got, id)
	}
	for _, s := range []string{"", "/", "1/2/3", "1/2/3/4/5/6/7/x/", "1/2/3/4/5/6/7/-8/"} {
		if got := ParseID(s); got != (ID{}) {
			t.Errorf("%q: got %+v", s, got)
		}
	}
	if !strings.HasPrefix(id.Format(), id.Mark()) || id.Mark() != "1/ffffffffffffffff/10000000000/ffffffffffffffff/" {
		t.Errorf("mark %q of %q", id.Mark(), id.Format())
	}
}

func TestMark(t *testing.T) {
	id := ID{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5, UID: 6, GID: 7, Perm: 0o755, Regular: true}
	same := id
	same.Ctime, same.UID, same.GID, same.Perm = 50, 60, 70, 0o700
	if same.Mark() != id.Mark() {
		t.Errorf("mode and owner make the mark %q of %q", same.Mark(), id.Mark())
	}
	for name, change := range map[string]func(*ID){
		"device": func(id *ID) { id.Dev++ }, "inode": func(id *ID) { id.Ino++ },
		"size": func(id *ID) { id.Size++ }, "mtime": func(id *ID) { id.Mtime++ },
	} {
		other := id
		change(&other)
		if other.Mark() == id.Mark() {
			t.Errorf("another %s has the same mark", name)
		}
	}
}

// TestMarkCrosses: the form in which other versions of this library write and read which
// file was executed, as in internal/handover/testdata.
func TestMarkCrosses(t *testing.T) {
	id := ID{Dev: 0xfd00, Ino: 0x1a2b, Size: 0x25a0c0, Mtime: 0x17c0ffee12345678, Ctime: 1, UID: 2, GID: 3, Perm: 0o755, Regular: true}
	const golden = "fd00/1a2b/25a0c0/17c0ffee12345678/"
	if got := id.Mark(); got != golden {
		t.Errorf("the mark is %q, want %q", got, golden)
	}
	if got := ParseID(golden + "1/2/3/1ed/"); got != id {
		t.Errorf("read %+v, want %+v", got, id)
	}
}
