//go:build !autorestart_portable

package handover

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A memfd and an empty file of the Reserve are in memory. An unlinked file is as the directory is.
func TestContentLearnsWhetherFileIsInMemory(t *testing.T) {
	var got []bool
	content := func(inMemory bool) []byte {
		got = append(got, inMemory)
		return []byte("state")
	}
	fd, err := MemoryFileOf(content)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unlinked, err := unlinkedFile()
	if err != nil {
		t.Fatal(err)
	}
	s := State{Reserve: &Reserve{files: []int{unlinked}}}
	defer s.Reserve.Close()
	fails := func(FileContent) (int, error) { return -1, unix.EMFILE }
	_, release, err := s.memoryFile(fails, content)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(unlinked, &fs); err != nil {
		t.Fatal(err)
	}
	if want := fs.Type == unix.TMPFS_MAGIC; len(got) != 2 || !got[0] || got[1] != want {
		t.Errorf("got %v, want true and %v", got, want)
	}
}
