package candidate

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestIDRoundTrip(t *testing.T) {
	id := ID{Dev: 1, Ino: 1<<64 - 1, Size: 1 << 40, Mtime: -1, Ctime: 1 << 62, UID: 1<<32 - 1, GID: 5, Perm: 0o755, Regular: true}
	if got := ParseID(id.Format()); got != id {
		t.Errorf("got %+v, want %+v", got, id)
	}
	for _, s := range []string{
		"", "/", "1/2/3", "1/2/3/4/5/6/7/x/", "1/2/3/4/5/6/7/-8/",
		"1/2/ffffffffffffffff/4/5/6/7/8/", // a size of -1
		"1/2/3/4/5/100000000/7/8/",        // a UID that is 0 in 32 bits
		"1/2/3/4/5/6/100000000/8/",
		"1/2/3/4/5/6/7/1000000001ed/",
		"10000000000000000/2/3/4/5/6/7/8/",
	} {
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
	if same.Mark() != id.Mark() || !same.SameMark(&id) {
		t.Errorf("mode and owner make the mark %q of %q", same.Mark(), id.Mark())
	}
	for name, change := range map[string]func(*ID){
		"device": func(id *ID) { id.Dev++ }, "inode": func(id *ID) { id.Ino++ },
		"size": func(id *ID) { id.Size++ }, "mtime": func(id *ID) { id.Mtime++ },
	} {
		other := id
		change(&other)
		if other.Mark() == id.Mark() || other.SameMark(&id) {
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

// FuzzParseID: an ID is read from what the previous image wrote in the environment, which
// whoever starts the program writes, too.
func FuzzParseID(f *testing.F) {
	f.Add("fd00/1a2b/25a0c0/17c0ffee12345678/1/2/3/1ed/")
	f.Add("1/2/3/4/5/6/7/8/more")
	f.Add("ffffffffffffffff/ffffffffffffffff/ffffffffffffffff/ffffffffffffffff/1/2/3/4/")
	f.Add(strings.Repeat("0", 2000) + "1/2/3/4/5/6/7/8/")
	f.Add(strings.Repeat("/", 2000))
	f.Fuzz(func(t *testing.T, s string) {
		var id ID
		allocated := testprocess.Allocated(func() { id = ParseID(s) })
		if most := 2*uint64(len(s)) + 16<<10; allocated > most {
			t.Errorf("%d bytes allocated for %d, limit %d", allocated, len(s), most)
		}
		if id == (ID{}) {
			return
		}
		if id.Size < 0 {
			t.Errorf("%q: a size of %d", s, id.Size)
		}
		// The ID says what it was read from.
		if again := ParseID(id.Format()); again != id {
			t.Errorf("%q: %+v, and once more %+v", s, id, again)
		}
	})
}
