//go:build !autorestart_portable

package sys

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TestReadAllStops: a file without end is read up to the limit.
func TestReadAllStops(t *testing.T) {
	for _, most := range []int{1, 32 << 10, 32 << 20} {
		var b []byte
		var err error
		allocated := testprocess.Allocated(func() { b, err = ReadAll("/dev/zero", make([]byte, 0, 512), most) })
		if err != nil || len(b) != most || allocated > 8*uint64(most)+16<<10 {
			t.Errorf("%d bytes, %v, %d allocated; limit %d", len(b), err, allocated, most)
		}
	}
}

func TestParseDirents(t *testing.T) {
	record := func(name string) []byte {
		b := make([]byte, (19+len(name)+1+7)&^7)
		*(*uint16)(unsafe.Pointer(&b[16])) = uint16(len(b))
		copy(b[19:], name)
		return b
	}
	b := slices.Concat(record("."), record(".."), record("1"), record("self"), record("4194304"), record("12x"))
	if got := parseDirents(b, nil); !slices.Equal(got, []int{1, 4194304}) {
		t.Errorf("parseDirents = %v", got)
	}
	for n := range b { // cut anywhere, it must come to an end
		parseDirents(b[:n], nil)
	}
	zero := make([]byte, 64)
	if got := parseDirents(zero, nil); got != nil {
		t.Errorf("parseDirents of zeros = %v", got)
	}
}

// FuzzParseDirents: whatever is in a directory, the result needs no memory but that for the numbers.
func FuzzParseDirents(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		numbers := make([]int, 0, len(b))
		if allocated := testprocess.Allocated(func() { parseDirents(b, numbers) }); allocated > 8<<10 {
			t.Errorf("%d bytes allocated of %d bytes", allocated, len(b))
		}
	})
}
