//go:build unix

package passing

import (
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

const aKey = `socket tcp/0 ":8080" "[::]:8080" ""`

// Most names of a program cross as they are: versions from before Names know them.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		name string
		want Name
	}{
		{"", ""},
		{"log", "log"},
		{"socket", "socket"},
		{"connection 5", "connection 5"},
		{"socket tcp/0", "socket tcp/0"},
		{"autorestart", "autorestart"},
		{aKey, "autorestart:program:" + aKey},
		{"autorestart:x", "autorestart:program:autorestart:x"},
		{"autorestart:program:x", "autorestart:program:autorestart:program:x"},
	} {
		got := ProgramName(test.name)
		if back, ok := got.program(); got != test.want || back != test.name || !ok || got.String() != test.name {
			t.Errorf("%q became %q, and that %q (%q), %t", test.name, got, back, got.String(), ok)
		}
	}
	for _, name := range []Name{aKey, `unread-connection unix/1 "/run/x" "/run/x" "7"`, "autorestart:later"} {
		if got, ok := name.program(); ok || name.String() != string(name) {
			t.Errorf("%q is the name %q of the program", name, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{"", "a", aKey, "autorestart:program:a", "\x00\xff"} {
		f.Add(name, name+"a")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if got, ok := ProgramName(a).program(); got != a || !ok {
			t.Errorf("%q became %q, %t", a, got, ok)
		}
		if a != b && ProgramName(a) == ProgramName(b) {
			t.Errorf("%q and %q are the same name", a, b)
		}
		if got, ok := Name(a).program(); ok && ProgramName(got) != Name(a) {
			t.Errorf("%q was read as %q, which is written as %q", a, got, ProgramName(got))
		}
	})
}

// TestNamesCrossApart: a file of the program and one of the library may have the same name, and
// so may their states.
func TestNamesCrossApart(t *testing.T) {
	first := NewStore(new(handover.State))
	lent := pipeWith(t, "text of the library")
	first.Lend(aKey, int(lent.Fd()), []byte("state of the library"), time.Now())
	if err := first.Pass(ProgramName(aKey), pipeWith(t, "text of the program")); err != nil {
		t.Fatal(err)
	}
	first.SetState(ProgramName(aKey), []byte("state of the program"))
	second := handedOver(t, first, 0)
	for name, owner := range map[Name]string{aKey: "the library", ProgramName(aKey): "the program"} {
		if state, _ := second.State(name); string(state) != "state of "+owner {
			t.Errorf("%s has the state %q", owner, state)
		}
		f, err := second.Inherited(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 100)
		if n, err := f.Read(b); string(b[:n]) != "text of "+owner || f.Name() != aKey {
			t.Errorf("%s has the file %s with %q, %v", owner, f.Name(), b[:n], err)
		}
	}
}

// TestInheritedFiles: they are those of the program that the previous image has passed.
func TestInheritedFiles(t *testing.T) {
	first := twoFilesAndStates(t)
	pass := func(s *Store, name Name) {
		if err := s.Pass(name, pipeWith(t, "")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []Name{aKey, ProgramName(aKey), "replaced", "unpassed"} {
		pass(first, name)
	}
	if names := first.InheritedFiles(); len(names) != 0 {
		t.Errorf("the first image inherited %q", names)
	}
	s := handedOver(t, first, 0)
	pass(s, "own")
	pass(s, "replaced")
	s.Unpass("unpassed")
	s.Unpass("of no file")
	f, err := s.Inherited("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, want := s.InheritedFiles(), []string{"a", "b", aKey}; !slices.Equal(names, want) {
		t.Errorf("inherited %q, want %q", names, want)
	}
	s.CloseUnclaimed()
	if names, want := s.InheritedFiles(), []string{"a"}; !slices.Equal(names, want) {
		t.Errorf("inherited %q once this image is ready, want %q", names, want)
	}
}

// TestGoldenNames: names are what other versions of this library write and read.
func TestGoldenNames(t *testing.T) {
	b, err := os.ReadFile("testdata/manifest-2.golden")
	if err != nil {
		t.Fatal(err)
	}
	want := []record{
		fileRecord(ProgramName("log"), 8),
		fileRecord(ProgramName(aKey), 9),
		fileRecord(aKey, 300),
		{manifestState, ProgramName("autorestart:x"), []byte("42")},
	}
	if got, err := parseManifest(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if written := manifestOf(want...); string(written) != string(b) {
		t.Errorf("this version writes %q, want %q", written, b)
	}
}
