//go:build unix

package passing

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// TestHandBack: the previous image gets back what it has handed over and this one has not
// taken, and the connections of this one.
func TestHandBack(t *testing.T) {
	s := handedOver(t, twoFilesAndStates(t), 1000)
	taken, _ := s.Take("a")
	defer taken.Close()
	conn := pipeWith(t, "text of a connection")
	if err := s.Lend("connection", int(conn.Fd()), []byte("state of it"), time.Now()); err != nil {
		t.Fatal(err)
	}
	// What was taken may have another name by now.
	if err := s.Lend("taken", taken.Int(), []byte("another state"), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.Unpass("b") // is of no use to this image
	if err := s.Pass("own", conn); err != nil {
		t.Fatal(err)
	}
	s.SetState("b", []byte("spoilt"))
	for range 2 { // also after a rollback that failed
		h := new(handover.State)
		*h = *s.inherited
		failure := errors.New("not executed")
		err := s.HandBack(h, func() error {
			previous := NewStore(h)
			if names := previous.Names(); !slices.Equal(names, []Name{"b", "connection", "taken"}) {
				t.Errorf("handed back %q", names)
			}
			for name, want := range map[Name]string{"b": "state b", "connection": "state of it", "taken": "another state", "a": ""} {
				if value, _ := previous.State(name); string(value) != want {
					t.Errorf("handed back the state %q of %s, want %q", value, name, want)
				}
			}
			f, err := previous.Inherited("connection")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			return failure
		})
		if err != failure {
			t.Error(err)
		}
		if isOpen(h.Number(handover.Manifest)) && h.Number(handover.Manifest) != s.inherited.Number(handover.Manifest) {
			t.Error("the manifest is left open")
		}
	}
	b := make([]byte, 100)
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "text of a connection" {
		t.Errorf("the lent connection: %q, %v", b[:n], err)
	}
}

// TestHandBackKeepsForeignRecords: the previous image may be another version of this library.
func TestHandBackKeepsForeignRecords(t *testing.T) {
	const later = 'x'
	for _, test := range []struct {
		what, format string
		lent         bool // crosses
	}{
		{"a record of another kind", manifestFormat, true},
		{"another format", "autorestart manifest 2\n", false},
	} {
		b := appendRecord([]byte(test.format), record{later, "name", []byte("value")})
		manifest, err := handover.MemoryFile(appendRecord(b, record{kind: manifestEnd}))
		if err != nil {
			t.Fatal(err)
		}
		inherited := new(handover.State)
		inherited.Set(handover.Manifest, manifest)
		inherited.Set(handover.ReadyWithin, 1000)
		s := NewStore(inherited)
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.Lend("lent", int(f.Fd()), nil, time.Now())
		h := new(handover.State)
		*h = *inherited
		s.HandBack(h, func() error {
			if same := h.Number(handover.Manifest) == manifest; same == test.lent {
				t.Errorf("%s: the manifest is the same one: %t", test.what, same)
			}
			records, err := inheritedRecords(h)
			if test.lent && (err != nil || len(records) != 2 || records[0].kind != later || records[1].name != "lent") {
				t.Errorf("%s: handed back %v, %v", test.what, records, err)
			}
			return nil
		})
		s.CloseUnclaimed()
	}
}

// TestHandBackKnowsReusedNumbers: the number of a file that was taken, and closed, may be that of
// a lent one by now.
func TestHandBackKnowsReusedNumbers(t *testing.T) {
	s := handedOver(t, twoFilesAndStates(t), 1000)
	taken, _ := s.Take("a")
	n := taken.Int()
	taken.Close()
	if err := sys.NewFD(int(pipeWith(t, "text").Fd())).DuplicateOver(n); err != nil {
		t.Fatal(err)
	}
	defer sys.NewFD(n).Close()
	s.Lend("connection", n, []byte("state"), time.Now())
	h := new(handover.State)
	*h = *s.inherited
	s.HandBack(h, func() error {
		if names := NewStore(h).Names(); !slices.Equal(names, []Name{"b", "connection"}) {
			t.Errorf("handed back %q", names)
		}
		return nil
	})
}
