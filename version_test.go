package autorestart

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
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

// TestContentOfShrunkFile: what is shorter than it was is an error, not a
// difference.
func TestContentOfShrunkFile(t *testing.T) {
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
	if _, err := equalContent(faultyAt{fault}, good, 10); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
	if _, err := equalContent(good, faultyAt{fault}, 10); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
	if _, err := contentSum(faultyAt{fault}, 10); err != fault {
		t.Errorf("got %v, want what the reader answers", err)
	}
}

// openContent makes a file in a new directory and opens it.
func openContent(t *testing.T, content []byte) (*os.File, fileID) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := openCandidate(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	id, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, id
}

func TestSameContent(t *testing.T) {
	content := randomContent(10000)
	base, baseID := openContent(t, content)
	copied, copyID := openContent(t, content)
	changed := bytes.Clone(content)
	changed[9999] ^= 1
	other, otherID := openContent(t, changed)
	longer, longerID := openContent(t, append(bytes.Clone(content), 0))
	sum, err := contentSum(base, baseID.size)
	if err != nil {
		t.Fatal(err)
	}

	versions := map[string]version{
		"file":     {id: baseID, file: base},
		"sum":      {id: baseID, sum: sum, summed: true},
		"identity": {id: baseID},
		"nothing":  {},
	}
	tests := []struct {
		name string
		f    *os.File
		id   fileID
		same []string
	}{
		{"itself", base, baseID, []string{"file", "sum", "identity"}},
		{"a copy", copied, copyID, []string{"file", "sum"}},
		{"another", other, otherID, nil},
		{"a longer one", longer, longerID, nil},
	}
	for _, test := range tests {
		want := make(map[string]bool)
		for _, name := range test.same {
			want[name] = true
		}
		for name, v := range versions {
			if same, err := v.sameContent(test.f, test.id); err != nil || same != want[name] {
				t.Errorf("%s, by %s: %t, %v; want %t", test.name, name, same, err, want[name])
			}
		}
	}

	// The file has become shorter since its identity was taken.
	for _, name := range []string{"file", "sum"} {
		v := versions[name]
		v.id.size++
		id := copyID
		id.size++
		if same, err := v.sameContent(copied, id); err != io.ErrUnexpectedEOF || same {
			t.Errorf("shrunk, by %s: %t, %v; want %v", name, same, err, io.ErrUnexpectedEOF)
		}
	}
}

func TestSumIfStill(t *testing.T) {
	content := randomContent(5000)
	f, id := openContent(t, content)
	want, err := contentSum(bytes.NewReader(content), 5000)
	if err != nil {
		t.Fatal(err)
	}
	if sum, ok := sumIfStill(f, id); !ok || sum != want {
		t.Errorf("got %x, %t; want %x", sum, ok, want)
	}
	other := id
	other.mtime++
	if _, ok := sumIfStill(f, other); ok {
		t.Error("summed in another state: modified")
	}
	for name, size := range map[string]int64{"longer": 6000, "shorter": 100} {
		if err := os.Truncate(f.Name(), size); err != nil {
			t.Fatal(err)
		}
		if _, ok := sumIfStill(f, id); ok {
			t.Errorf("summed in another state: %s", name)
		}
	}
	f.Close()
	if _, ok := sumIfStill(f, id); ok {
		t.Error("summed a closed file")
	}
}

// TestRunningVersion: this program is the version that it runs.
func TestRunningVersion(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := openCandidate(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	var v version
	v.setRunning()
	if same, err := v.sameContent(f, id); err != nil || !same {
		t.Errorf("this program's own file: %t, %v", same, err)
	}
	v.close()
	v.close()
}
