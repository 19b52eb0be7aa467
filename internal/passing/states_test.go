//go:build unix

package passing

import (
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// wantStates checks the states of a store. A value of "-" stands for none.
func wantStates(t *testing.T, s *Store, want map[Name]string) {
	t.Helper()
	for name, value := range want {
		got, ok := s.State(name)
		if !ok {
			got = []byte("-")
		}
		if string(got) != value {
			t.Errorf("state %s: got %q, want %q", name, got, value)
		}
	}
}

// What a stand-in has set goes to its main process, which keeps what it has set itself.
func TestTakeStates(t *testing.T) {
	first := NewStore(new(handover.State))
	for _, name := range []Name{"inherited", "set by both", "set by one", "removed by main", "set and removed"} {
		first.SetState(name, []byte("first"))
	}
	standIn, main := handedOver(t, first, 0), handedOver(t, first, 0)
	for _, name := range []Name{"set by both", "set by one", "new", "removed by main", "set and removed"} {
		standIn.SetState(name, []byte("stand-in"))
	}
	standIn.SetState("empty", []byte{})
	main.SetState("set by both", []byte("main"))
	main.SetState("removed by main", nil)
	main.SetState("set and removed", []byte("main"))
	main.SetState("set and removed", nil)
	fd := standIn.OwnStates()
	main.TakeStates(fd)
	if isOpen(fd) {
		t.Error("the file is open")
	}
	want := map[Name]string{
		"inherited": "first", "set by both": "main", "set by one": "stand-in", "new": "stand-in",
		"removed by main": "-", "set and removed": "-", "empty": "",
	}
	wantStates(t, main, want)
	main.CloseUnclaimed()
	next := handedOver(t, main, 0)
	wantStates(t, next, want)
	if fd := next.OwnStates(); fd != -1 {
		t.Error("the next image has set something")
		sys.NewFD(fd).Close()
	}
}

func TestTakeStatesOfOtherForm(t *testing.T) {
	s := twoFilesAndStates(t)
	s.TakeStates(-1)
	memoryFile := func(text string) int {
		fd, err := handover.MemoryFile([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	file := string(appendRecord(nil, fileRecord("a", 0)))
	for _, fd := range []int{
		memoryFile(""),
		memoryFile("text"),
		memoryFile(manifestFormat),
		memoryFile(strings.Repeat(manifestFormat, 2)),
		memoryFile(manifestFormat + file + string(appendRecord(nil, record{kind: manifestEnd}))), // no descriptor counts
		must(sys.DuplicateFile(pipeWith(t, "text"))).Release(),
	} {
		s.TakeStates(fd)
		if isOpen(fd) {
			t.Errorf("descriptor %d is open", fd)
		}
	}
	wantStates(t, s, map[Name]string{"a": "state a", "b": "state b"})
	f, err := s.Inherited("a")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
