package crashlog

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

// benchmarkFiles returns files on a tmpfs, where there is one: they are like memfds, and exist
// everywhere.
func benchmarkFiles(b *testing.B) (files [2]File) {
	dir := "/dev/shm"
	if _, err := os.Stat(dir); err != nil {
		dir = b.TempDir()
	}
	for slot := range files {
		f, err := os.CreateTemp(dir, "crashlog")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			f.Close()
			os.Remove(f.Name())
		})
		files[slot] = Descriptor(f.Fd())
	}
	return files
}

var benchmarkSizes = []struct {
	name  string
	value int
}{{"100B", 100}, {"4KiB", 4 << 10}, {"1MiB", 1 << 20}}

// BenchmarkWrite sets one value after the other, beside a number of others that have 100 bytes.
func BenchmarkWrite(b *testing.B) {
	for _, size := range benchmarkSizes {
		for _, names := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("value=%s/names=%d", size.name, names), func(b *testing.B) {
				content := make([]Change, names)
				for i := range content {
					content[i] = Change{strconv.Itoa(i), make([]byte, 100)}
				}
				l := newLog(b, benchmarkFiles(b), content...)
				value := make([]byte, size.value)
				b.SetBytes(int64(size.value))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if err := l.Write(Change{content[i%10].Name, value}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen opens a log with a number of values of 100 bytes.
func BenchmarkOpen(b *testing.B) {
	for _, names := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			files := benchmarkFiles(b)
			content := make([]Change, names)
			for i := range content {
				content[i] = Change{strconv.Itoa(i), make([]byte, 100)}
			}
			newLog(b, files, content...)
			for b.Loop() {
				if _, got, err := Open(files); err != nil || len(got) != names {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

// BenchmarkReplace begins anew with a number of values of 100 bytes: the longest that a Write
// may take.
func BenchmarkReplace(b *testing.B) {
	for _, names := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			content := make([]Change, names)
			for i := range content {
				content[i] = Change{strconv.Itoa(i), make([]byte, 100)}
			}
			l := newLog(b, benchmarkFiles(b), content...)
			for b.Loop() {
				if err := l.rewrite(true, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
