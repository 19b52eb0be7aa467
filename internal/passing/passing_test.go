//go:build unix

package passing

import (
	"errors"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// pipeWith returns the read end of a pipe that holds the text.
func pipeWith(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return r
}

// handedOver returns a store that inherits what s passes on, as after an exec: with
// descriptors of its own.
func handedOver(t *testing.T, s *Store, readyWithin int) *Store {
	t.Helper()
	h := new(handover.State)
	var inherited *handover.State
	err := s.HandOver(h, func() (err error) {
		inherited, err = Duplicate(h)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if readyWithin > 0 {
		inherited.Set(handover.ReadyWithin, readyWithin)
	}
	return NewStore(inherited)
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func twoFilesAndStates(t *testing.T) *Store {
	s := NewStore(new(handover.State))
	for _, name := range []Name{"a", "b"} {
		if err := s.Pass(name, pipeWith(t, "text of "+string(name))); err != nil {
			t.Fatal(err)
		}
		s.SetState(name, []byte("state "+string(name)))
	}
	return s
}

func TestFilesAndStatesCross(t *testing.T) {
	first := twoFilesAndStates(t)
	second := handedOver(t, first, 0)
	if names := second.Names(); !slices.Equal(names, []Name{"a", "b"}) {
		t.Errorf("inherited %q", names)
	}
	f, err := second.Inherited("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 100)
	if n, err := f.Read(b); err != nil || string(b[:n]) != "text of a" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if value, ok := second.State("a"); !ok || string(value) != "state a" {
		t.Errorf("state %q, %v", value, ok)
	}
	unclaimed := second.inherited.Numbers[handover.File][1]
	settled := 0
	second.OnSettled(func() { settled++ })
	for range 2 {
		second.CloseUnclaimed()
	}
	if settled != 1 {
		t.Errorf("settled %d times", settled)
	}
	if isOpen(unclaimed) {
		t.Error("the unclaimed file is open")
	}
	if _, err := second.Inherited("b"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unclaimed file: %v", err)
	}
	if _, ok := second.State("b"); ok {
		t.Error("the unclaimed state is there")
	}
	third := handedOver(t, second, 0)
	if names := third.Names(); !slices.Equal(names, []Name{"a"}) {
		t.Errorf("the third image inherited %q", names)
	}
}

// TestUnclaimedWithoutUse: an image that asks for nothing hands on all of it until it
// is settled, and then nothing.
func TestUnclaimedWithoutUse(t *testing.T) {
	s := handedOver(t, twoFilesAndStates(t), 0)
	var h handover.State
	handOver := func() {
		h = handover.State{}
		if err := s.HandOver(&h, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	handOver()
	fds := s.inherited.Numbers[handover.File]
	if !slices.Equal(h.Numbers[handover.File], fds) || h.Number(handover.Manifest) != s.inherited.Number(handover.Manifest) {
		t.Errorf("handed on %v, want %v", h, s.inherited)
	}
	s.CloseUnclaimed()
	for _, fd := range append(fds, s.inherited.Number(handover.Manifest)) {
		if isOpen(fd) {
			t.Errorf("descriptor %d is open", fd)
		}
	}
	handOver()
	if len(h.Numbers[handover.File]) > 0 || h.Number(handover.Manifest) != 0 || !s.Empty() {
		t.Errorf("handed on %v", h)
	}
}

// TestRetiredForRollback: as long as the previous image may come back, its
// descriptors stay open.
func TestRetiredForRollback(t *testing.T) {
	s := handedOver(t, twoFilesAndStates(t), 1000)
	if !s.RollbackPossible() {
		t.Error("no rollback is possible")
	}
	fds := s.inherited.Numbers[handover.File]
	s.Unpass("a")
	if err := s.Pass("b", pipeWith(t, "another")); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if !isOpen(fd) {
			t.Errorf("descriptor %d is closed during the trial", fd)
		}
	}
	s.CloseUnclaimed()
	for _, fd := range fds {
		if isOpen(fd) {
			t.Errorf("descriptor %d is open after the trial", fd)
		}
	}
	if s.RollbackPossible() {
		t.Error("a rollback is possible after the trial")
	}
	if names := s.Names(); !slices.Equal(names, []Name{"b"}) {
		t.Errorf("passes on %q", names)
	}
}

func TestTakenFileCrossesNoMore(t *testing.T) {
	s := twoFilesAndStates(t)
	fd, ok := s.Take("a")
	if !ok || !isOpen(fd.Int()) {
		t.Fatalf("took %v, %v", fd, ok)
	}
	defer fd.Close()
	if _, ok := s.Take("a"); ok {
		t.Error("took it twice")
	}
	if names := handedOver(t, s, 0).Names(); !slices.Equal(names, []Name{"b"}) {
		t.Errorf("handed over %q", names)
	}
}

func TestManifestThatCannotBeRead(t *testing.T) {
	for _, content := range []string{"", "autorestart manifest 2\n", manifestFormat + "f\x05ab"} {
		manifest, err := handover.MemoryFile([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		inherited := new(handover.State)
		inherited.Set(handover.Manifest, manifest)
		s := NewStore(inherited)
		if names := s.Names(); len(names) > 0 {
			t.Errorf("%q has files %q", content, names)
		}
		s.CloseUnclaimed()
	}
}

// TestNamesAreCopied: a name may come from an argument of the program, which may write a title
// there.
func TestNamesAreCopied(t *testing.T) {
	s := NewStore(new(handover.State))
	name := []byte("name")
	if err := s.Pass(Name(unsafe.String(&name[0], len(name))), pipeWith(t, "")); err != nil {
		t.Fatal(err)
	}
	s.SetState(Name(unsafe.String(&name[0], len(name))), []byte("value"))
	copy(name, "xxxx")
	if names := s.Names(); !slices.Equal(names, []Name{"name"}) {
		t.Errorf("files %q", names)
	}
	if value, ok := s.State("name"); string(value) != "value" || !ok {
		t.Errorf("the state is %q, %t", value, ok)
	}
	s.Unpass("name")
}
