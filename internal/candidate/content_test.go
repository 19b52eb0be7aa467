package candidate

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

// pieceSizes are lengths around the ends of the pieces in which content is read.
var pieceSizes = []int{
	0, 1, 2, 511, 4095, 4096, 4097, 8191, 8192, 8193,
	64<<10 - 1, 64 << 10, 64<<10 + 1,
	4096 + 64<<10 - 1, 4096 + 64<<10, 4096 + 64<<10 + 1,
	128<<10 - 1, 128 << 10, 128<<10 + 1, 4096 + 128<<10, 300000,
}

func randomContent(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size)})
	r.Read(b)
	return b
}

func TestEqualContent(t *testing.T) {
	for _, size := range pieceSizes {
		a := randomContent(size)
		same, err := equalContent(bytes.NewReader(a), bytes.NewReader(bytes.Clone(a)), int64(size))
		if err != nil || !same {
			t.Errorf("%d bytes: %t, %v", size, same, err)
		}
		for _, at := range []int{0, 4095, 4096, 4096 + 64<<10 - 1, 4096 + 64<<10, size / 2, size - 1} {
			if at < 0 || at >= size {
				continue
			}
			b := bytes.Clone(a)
			b[at] ^= 1
			same, err := equalContent(bytes.NewReader(a), bytes.NewReader(b), int64(size))
			if err != nil || same {
				t.Errorf("%d bytes, the one at %d differs: %t, %v", size, at, same, err)
			}
		}
		// Only the first size bytes count.
		same, err = equalContent(bytes.NewReader(append(bytes.Clone(a), 'x')), bytes.NewReader(append(bytes.Clone(a), 'y')), int64(size))
		if err != nil || !same {
			t.Errorf("%d bytes and what comes after: %t, %v", size, same, err)
		}
	}
}

func TestContentSum(t *testing.T) {
	contentSum := contentSum{seed: maphash.MakeSeed()}.of
	sums := make(map[uint64]int)
	for _, size := range pieceSizes {
		a := randomContent(size)
		sum, err := contentSum(bytes.NewReader(a), int64(size))
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if other, taken := sums[sum]; taken {
			t.Errorf("%d and %d bytes have the same sum", size, other)
		}
		sums[sum] = size
		if again, err := contentSum(bytes.NewReader(append(bytes.Clone(a), 'x')), int64(size)); err != nil || again != sum {
			t.Errorf("%d bytes: sum %x, then %x, %v", size, sum, again, err)
		}
		if size > 0 {
			a[size-1] ^= 1
			if other, err := contentSum(bytes.NewReader(a), int64(size)); err != nil || other == sum {
				t.Errorf("%d bytes: the last one makes no difference, %v", size, err)
			}
		}
	}
}

// TestContentOfShrunkFile: a file that is shorter than it was is an error, not a
// difference.
func TestContentOfShrunkFile(t *testing.T) {
	contentSum := contentSum{seed: maphash.MakeSeed()}.of
	for _, size := range pieceSizes {
		if size == 0 {
			continue
		}
		whole := randomContent(size)
		for _, left := range []int{0, size / 2, size - 1} {
			whole, cut := bytes.NewReader(whole), bytes.NewReader(whole[:left])
			if _, err := equalContent(whole, cut, int64(size)); err != io.ErrUnexpectedEOF {
				t.Errorf("%d bytes left of %d: %v, want %v", left, size, err, io.ErrUnexpectedEOF)
			}
			if _, err := equalContent(cut, whole, int64(size)); err != io.ErrUnexpectedEOF {
				t.Errorf("%d bytes left of %d, the other way round: %v, want %v", left, size, err, io.ErrUnexpectedEOF)
			}
			if _, err := contentSum(cut, int64(size)); err != io.ErrUnexpectedEOF {
				t.Errorf("sum with %d bytes left of %d: %v, want %v", left, size, err, io.ErrUnexpectedEOF)
			}
		}
	}
	fault := errors.New("I/O error")
	good := bytes.NewReader(make([]byte, 10))
	if _, err := equalContent(elftest.FailingReader{Err: fault}, good, 10); err != fault {
		t.Errorf("got %v, want the error of the reader", err)
	}
	if _, err := equalContent(good, elftest.FailingReader{Err: fault}, 10); err != fault {
		t.Errorf("got %v, want the error of the reader", err)
	}
	if _, err := contentSum(elftest.FailingReader{Err: fault}, 10); err != fault {
		t.Errorf("got %v, want the error of the reader", err)
	}
}

// meteredFile is a sparse file.
type meteredFile struct{ *elftest.Meter }

func (meteredFile) Close() error { return nil }

// A hugeSystem has one file, which it executes.
type hugeSystem struct {
	System
	file meteredFile
	id   ID
}

func (s *hugeSystem) Open(string) (File, error)  { return s.file, nil }
func (s *hugeSystem) StatFile(File) (ID, error)  { return s.id, nil }
func (s *hugeSystem) RunningID() ID              { return s.id }
func (s *hugeSystem) RunningIsBusy() bool        { return false }
func (s *hugeSystem) OpenRunning() (File, error) { return nil, io.EOF }
func (s *hugeSystem) RunningKind() elfimage.Kind { return elfimage.Kind{} }

// TestHugeContent: no version is compared or summed if that takes minutes. Its ID alone
// tells it from another.
func TestHugeContent(t *testing.T) {
	const most = 16 << 20 // bytes, for headers
	for _, size := range []int64{maxCompared + 1, 1 << 40, 1<<63 - 1} {
		sys := &hugeSystem{id: ID{Dev: 1, Ino: 1, Size: size, Regular: true}}
		sys.file.Meter = &elftest.Meter{Content: elftest.Program(1), Size: size}
		accepted := &Candidate{File: sys.file, ID: sys.id}
		touched := &Candidate{File: sys.file, ID: sys.id}
		touched.ID.Mtime++

		versions := map[string]*Version{}
		rules := &Rules{System: sys}
		for name, make := range map[string]func() *Version{
			"accepted":       func() *Version { return rules.Remember(accepted) },
			"at launch":      func() *Version { return &NewRules(sys, "/app").Running },
			"the open image": func() *Version { return &Version{ID: sys.id, file: sys.file} },
		} {
			if !sys.file.Run(func() { versions[name] = make() }) || sys.file.Bytes > most {
				t.Errorf("%d bytes, %s: %d read to remember it", size, name, sys.file.Bytes)
				continue
			}
			for _, c := range []*Candidate{accepted, touched} {
				var same bool
				var err error
				if !sys.file.Run(func() { same, err = versions[name].SameContent(c) }) || sys.file.Bytes > 0 {
					t.Errorf("%d bytes, %s: %d read to compare it", size, name, sys.file.Bytes)
				} else if err != nil || same != (c == accepted) {
					t.Errorf("%d bytes, %s, touched: %t: the same: %t, %v", size, name, c == touched, same, err)
				}
			}
		}
	}
}
