//go:build unix

package passing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// A recorder is a Keeper that writes down its calls.
type recorder struct {
	calls []string
	open  []bool // for each DropFile: whether the descriptor is open at that moment
	fds   map[Name]int
	flush func() error
}

func (r *recorder) add(format string, args ...any) {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

func (r *recorder) Begin(files []KeptFile, states []KeptState) {
	r.fds = map[Name]int{}
	for _, f := range files {
		r.fds[f.Name] = f.FD
		r.add("file %s", string(f.Name))
	}
	for _, st := range states {
		r.add("state %s=%s", string(st.Name), st.Value)
	}
	slices.Sort(r.calls)
}

func (r *recorder) KeepFile(f KeptFile) {
	r.fds[f.Name] = f.FD
	r.add("keep %s", string(f.Name))
}

func (r *recorder) DropFile(name Name, atOnce bool) {
	r.open = append(r.open, isOpen(r.fds[name]))
	if !atOnce {
		r.add("close %s", string(name))
		return
	}
	r.add("drop %s", string(name))
}

func (r *recorder) KeepState(st KeptState) {
	if st.Value == nil {
		r.add("remove %s", string(st.Name))
		return
	}
	r.add("set %s=%s", string(st.Name), st.Value)
}

func (r *recorder) Flush(context.Context) error { return r.flush() }

// want checks the calls since the last time.
func (r *recorder) want(t *testing.T, calls ...string) {
	t.Helper()
	if !slices.Equal(r.calls, calls) {
		t.Errorf("calls %q, want %q", r.calls, calls)
	}
	r.calls = nil
	if slices.Contains(r.open, false) {
		t.Error("a file was closed before it was dropped")
	}
}

const systemdKey = `systemd-socket tcp/0 "[::]:8080" "[::]:8080" "http"`

// pass passes a file of its own under each name.
func pass(t *testing.T, s *Store, names ...Name) {
	t.Helper()
	for _, name := range names {
		if err := s.Pass(name, pipeWith(t, "text of "+string(name))); err != nil {
			t.Fatal(err)
		}
	}
}

// passAll passes what a Keeper gets, and what it doesn't get.
func passAll(t *testing.T, s *Store) {
	t.Helper()
	pass(t, s, ProgramName("log"), ProgramName(aKey), aKey, systemdKey)
	conn := pipeWith(t, "")
	if err := s.Lend(`connection tcp/0 "" "" "7"`, int(conn.Fd()), []byte("of a connection"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.PassDescriptor(CarriedName("page"), int(conn.Fd())); err != nil {
		t.Fatal(err)
	}
	s.SetState(ProgramName("counter"), []byte("1"))
	s.SetState(SecretName("keys"), []byte("2"))
	s.SetState(aKey, []byte("of a packet connection"))
}

// TestKeeperGetsWhatCrosses: files and states of the program, its sockets and secrets. Connections, sockets
// that systemd owns, and carried files are not for it.
func TestKeeperGetsWhatCrosses(t *testing.T) {
	program := string(ProgramName(aKey))
	for _, earlier := range []bool{false, true} {
		s, r := NewStore(new(handover.State)), new(recorder)
		if earlier {
			passAll(t, s)
			s.SetKeeper(r)
			r.want(t, "file "+program, "file log", "file "+aKey, "state "+string(SecretName("keys"))+"=2", "state counter=1")
		} else {
			s.SetKeeper(r)
			r.want(t)
			passAll(t, s)
			r.want(t, "keep log", "keep "+program, "keep "+aKey, "set counter=1", "set "+string(SecretName("keys"))+"=2")
		}
		pass(t, s, "log") // in place of the one before
		r.want(t, "drop log", "keep log")
		s.SetState("counter", nil)
		s.SetState(aKey, nil)
		r.want(t, "remove counter")
		s.Unpass("log")
		s.Unpass(systemdKey)
		s.Unpass(`connection tcp/0 "" "" "7"`)
		s.Unpass("nothing")
		r.want(t, "drop log")
		if fd, ok := s.Take(aKey); !ok {
			t.Error("there is no socket to take")
		} else {
			fd.Close()
		}
		r.want(t, "close "+aKey) // it may end now
	}
}

// TestKeeperGetsWhatIsInherited: also what is unclaimed, until that is closed.
func TestKeeperGetsWhatIsInherited(t *testing.T) {
	for _, readyWithin := range []int{0, 1000} {
		s, r := handedOver(t, twoFilesAndStates(t), readyWithin), new(recorder)
		s.SetKeeper(r)
		r.want(t, "file a", "file b", "state a=state a", "state b=state b")
		f, err := s.Inherited("a")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.State("b")
		s.CloseUnclaimed()
		r.want(t, "drop b", "remove a")
		pass(t, s, "a")
		r.want(t, "drop a", "keep a")
	}
}

// TestKeeperGetsStatesOfTheStandIn: the main process takes them over.
func TestKeeperGetsStatesOfTheStandIn(t *testing.T) {
	standIn := NewStore(new(handover.State))
	standIn.SetState("set by both", []byte("stand-in"))
	standIn.SetState("set by one", []byte("stand-in"))
	s, r := NewStore(new(handover.State)), new(recorder)
	s.SetKeeper(r)
	s.SetState("set by both", []byte("main"))
	s.TakeStates(standIn.OwnStates())
	r.want(t, "set set by both=main", "set set by one=stand-in")
}

// kept returns a file that a Keeper has found.
func kept(t *testing.T, name Name) KeptFile {
	t.Helper()
	s := NewStore(new(handover.State))
	pass(t, s, name)
	fd, ok := s.Take(name)
	if !ok {
		t.Fatal("nothing to take")
	}
	return KeptFile{name, fd.Release()}
}

// TestRestore: the program claims what was kept as if it was inherited. The rest is closed when it is
// ready, and the Keeper drops it before that. What the program has passed before stays.
func TestRestore(t *testing.T) {
	s, r := NewStore(new(handover.State)), new(recorder)
	pass(t, s, "used")
	s.SetState("used", []byte("new"))
	files := []KeptFile{kept(t, "claimed"), kept(t, "unclaimed"), kept(t, "used")}
	s.Restore(files, []KeptState{{"claimed", []byte("1")}, {"unclaimed", []byte("2")}, {"used", []byte("old")}})
	if isOpen(files[2].FD) {
		t.Error("the file is open whose name the program has used before")
	}
	s.SetKeeper(r)
	r.want(t, "file claimed", "file unclaimed", "file used", "state claimed=1", "state unclaimed=2", "state used=new")
	if names := s.InheritedFiles(); !slices.Equal(names, []string{"claimed", "unclaimed"}) {
		t.Errorf("inherited %q", names)
	}
	select {
	case <-s.Settled():
		t.Error("settled before what is unclaimed is closed")
	default:
	}
	for name, want := range map[Name]string{"claimed": "text of claimed", "used": "text of used"} {
		f, err := s.Inherited(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 100)
		if n, err := f.Read(b); string(b[:n]) != want {
			t.Errorf("%q, %v, want %q", b[:n], err, want)
		}
	}
	s.State("claimed")
	s.CloseUnclaimed()
	<-s.Settled()
	r.want(t, "drop unclaimed", "remove unclaimed")
	if isOpen(files[1].FD) || !isOpen(files[0].FD) {
		t.Error("the unclaimed file is open, or the claimed one is not")
	}
	if value, ok := s.State("used"); string(value) != "new" {
		t.Errorf("state %q, %v", value, ok)
	}
	s.Unpass("claimed")
	r.want(t, "drop claimed")
	if isOpen(files[0].FD) {
		t.Error("a file that was unpassed is open")
	}
}

// TestRestoreOnceReady: a program that asks for what was kept when it is ready has time to claim it.
func TestRestoreOnceReady(t *testing.T) {
	s, r := NewStore(new(handover.State)), new(recorder)
	s.CloseUnclaimed()
	f := kept(t, "unclaimed")
	s.Restore([]KeptFile{f}, nil)
	s.SetKeeper(r)
	r.want(t, "file unclaimed")
	s.CloseUnclaimed()
	r.want(t, "drop unclaimed")
	if isOpen(f.FD) {
		t.Error("what is unclaimed stays open")
	}
}

// TestRestoredCrosses: what was restored and claimed crosses the next exec.
func TestRestoredCrosses(t *testing.T) {
	s := NewStore(new(handover.State))
	s.Restore([]KeptFile{kept(t, "a")}, []KeptState{{"a", []byte("1")}})
	next := handedOver(t, s, 0)
	if value, _ := next.State("a"); string(value) != "1" || !slices.Equal(next.Names(), []Name{"a"}) {
		t.Errorf("files %q, state %q", next.Names(), value)
	}
	next.CloseUnclaimed()
	s.CloseUnclaimed()
}

// TestCarried: a carried file crosses each exec and each rollback, also of an image that does not claim it.
func TestCarried(t *testing.T) {
	name := CarriedName("page")
	s := NewStore(new(handover.State))
	if _, err := s.Inherited(name); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	pipe := pipeWith(t, "text")
	if err := s.PassDescriptor(name, int(pipe.Fd())); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s = handedOver(t, s, 1000)
		pass(t, s, "own")
		s.CloseUnclaimed() // of all but what is carried
	}
	last := handedOver(t, s, 1000)
	if err := last.PassDescriptor(name, int(pipeWith(t, "another").Fd())); err != nil {
		t.Fatal(err)
	}
	h := new(handover.State)
	*h = *last.inherited
	var back *Store
	last.HandBack(h, func() error {
		duplicate, err := Duplicate(h)
		if err != nil {
			t.Fatal(err)
		}
		back = NewStore(duplicate)
		return nil
	})
	f, err := back.Inherited(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 10)
	if n, err := f.Read(b); string(b[:n]) != "text" {
		t.Errorf("handed back %q, %v", b[:n], err)
	}
	back.CloseUnclaimed()
	last.CloseUnclaimed()
}

// TestFlushKeeper: it is called without the lock of the store, and only if there is a Keeper.
func TestFlushKeeper(t *testing.T) {
	s := NewStore(new(handover.State))
	if s.FlushKeeper(t.Context()) {
		t.Error("flushed no Keeper")
	}
	s.Names()
	if s.FlushKeeper(t.Context()) {
		t.Error("flushed no Keeper")
	}
	var failure error
	s.SetKeeper(&recorder{flush: func() error {
		s.SetState("while it waits", []byte("1"))
		return failure
	}})
	if !s.FlushKeeper(t.Context()) {
		t.Error("the Keeper was not flushed")
	}
	if failure = errors.New("too late"); s.FlushKeeper(t.Context()) {
		t.Error("flushed in spite of an error")
	}
}

// TestCarriedState: a carried state crosses likewise, and a process that was started after a crash finds it.
func TestCarriedState(t *testing.T) {
	name := CarriedName("gate")
	s := NewStore(new(handover.State))
	r := new(recorder)
	s.SetKeeper(r)
	s.SetState(name, []byte("one"))
	r.want(t, "set "+string(name)+"=one")
	for range 3 {
		s = handedOver(t, s, 1000)
		s.SetState("own", []byte("1"))
		s.CloseUnclaimed()
	}
	last := handedOver(t, s, 1000)
	last.SetState(name, []byte("two"))
	h := new(handover.State)
	*h = *last.inherited
	var back *Store
	last.HandBack(h, func() error {
		duplicate, err := Duplicate(h)
		if err != nil {
			t.Fatal(err)
		}
		back = NewStore(duplicate)
		return nil
	})
	if value, ok := back.State(name); string(value) != "one" {
		t.Errorf("handed back %q, %v", value, ok)
	}
	back.CloseUnclaimed()
	last.CloseUnclaimed()
}
