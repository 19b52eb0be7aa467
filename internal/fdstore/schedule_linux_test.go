//go:build !autorestart_portable

package fdstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A world is a program and what it should find after a crash.
type world struct {
	t       *testing.T
	r       *rand.Rand
	m       *manager
	program *passing.Store
	store   *Store
	fds     []int // all files that there are
	log     []string

	files  map[passing.Name]int // index in fds, as last set
	states map[passing.Name]string

	// unsent says that a file was not sent yet before the operation.
	unsent bool

	// earlier are the contents before the operation that a crash has interrupted.
	earlier map[string]bool
}

// discard is a Keeper for the rest of a program that has ended.
type discard struct{ passing.Keeper }

func (discard) Begin([]passing.KeptFile, []passing.KeptState) {}
func (discard) DropFile(passing.Name, bool)                   {}

// end closes what the program has open.
func (w *world) end() {
	end(w.store)
	w.program.SetKeeper(discard{})
	for _, name := range w.program.Names() {
		w.program.Unpass(name)
	}
	w.program.CloseRetired()
}

// content describes what is to be found.
func (w *world) content() string {
	var all []string
	for name, i := range w.files {
		all = append(all, fmt.Sprintf("%s=%d", name, i))
	}
	for name, value := range w.states {
		all = append(all, fmt.Sprintf("%s:%s", name, value))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// set makes a change, and writes down the content before and after it.
func (w *world) set(change func(), f func()) {
	w.earlier[w.content()] = true
	change()
	w.earlier[w.content()] = true
	f()
}

// newFile makes a file: a socket, an end of a pipe of which the other is there, too, or one of many
// descriptions of an inode.
func (w *world) newFile() (i int) {
	switch w.r.IntN(3) {
	case 0:
		w.fds = append(w.fds, socket(w.t))
	case 1:
		r, write := pipe(w.t)
		w.fds = append(w.fds, r, write)
	default:
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { unix.Close(fd) })
		w.fds = append(w.fds, fd)
	}
	return len(w.fds) - 1
}

// pass passes a file under a name.
func (w *world) pass(name passing.Name, i int) {
	f := sys.NewFD(duplicate(w.t, w.fds[i])).File("file")
	defer f.Close()
	// In between, no file has the name.
	w.set(func() { delete(w.files, name) }, func() {})
	w.set(func() { w.files[name] = i }, func() {
		if err := w.program.Pass(name, f); err != nil {
			w.t.Fatal(err)
		}
	})
}

// step does something at random.
func (w *world) step() {
	name := name(w.r.IntN(5))
	n := w.r.IntN(12)
	w.log = append(w.log, fmt.Sprintf("%d %s", n, name))
	switch n {
	case 0, 1:
		w.pass(name, w.newFile())
	case 2:
		if len(w.fds) > 0 {
			w.pass(name, w.r.IntN(len(w.fds)))
		}
	case 3, 4:
		w.set(func() { delete(w.files, name) }, func() { w.program.Unpass(name) })
	case 5, 6:
		value := fmt.Sprint(w.r.IntN(1000))
		w.set(func() { w.states[name] = value }, func() { w.program.SetState(name, []byte(value)) })
	case 7:
		w.set(func() { delete(w.states, name) }, func() { w.program.SetState(name, nil) })
	case 8:
		w.exec()
	case 9:
		w.m.setBusy(true)
	case 10:
		w.m.setBusy(false)
	default:
		if err := w.store.Flush(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
}

// exec goes on in another image, which may have changed something before its store begins.
func (w *world) exec() {
	h := new(handover.State)
	var next *passing.Store
	err := w.program.HandOver(h, func() error {
		inherited, err := passing.Duplicate(h)
		next = passing.NewStore(inherited)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	old := &world{program: w.program, store: &Store{slots: w.store.slots, retry: w.store.retry}}
	var log Log
	for i, fd := range w.store.slots {
		log[i] = sys.NewFD(duplicate(w.t, fd.Int()))
	}
	old.end()
	w.program, w.unsent = next, true // until Begin returns
	if w.store, err = Continue(w.m.config(), log, nil); err != nil {
		w.t.Fatal(err)
	}
	w.m.watchLog(w.store)
	for range w.r.IntN(3) {
		// Of two opens of one file, the store can't tell which one it has under the name.
		w.fds = append(w.fds, socket(w.t))
		w.pass(name(w.r.IntN(5)), len(w.fds)-1)
	}
	w.program.SetKeeper(w.store)
	for _, name := range next.Names() { // all is claimed
		if f, err := next.Inherited(name); err == nil {
			f.Close()
		}
	}
}

// start is a start of the program that follows no exec. It reports what it has found.
func (w *world) start() string {
	var kept Kept
	w.store, kept = w.m.recover()
	found := describeAll(kept, w.fds...)
	w.program = passing.NewStore(new(handover.State))
	w.program.Restore(kept.Files, kept.States)
	w.program.SetKeeper(w.store)
	w.files, w.states = map[passing.Name]int{}, map[passing.Name]string{}
	for _, f := range kept.Files {
		w.files[f.Name] = slices.IndexFunc(w.fds, func(fd int) bool { return sameFile(fd, f.FD) })
	}
	for _, st := range kept.States {
		w.states[st.Name] = string(st.Value)
	}
	return found
}

// hasUnsent reports whether systemd has not got all files yet.
func (w *world) hasUnsent() bool {
	return slices.ContainsFunc(w.store.order, func(own *stored) bool { return !own.sent })
}

type killed struct{}

// runUntilKilled runs the program, and kills it at a message or a write to the log.
func (w *world) runUntilKilled() {
	left := 1 + w.r.IntN(150)
	w.m.onEvent = func() {
		if left--; left == 0 {
			panic(killed{})
		}
	}
	defer func() {
		w.m.onEvent = func() {}
		if p := recover(); p != nil && p != (killed{}) {
			panic(p)
		}
	}()
	for range 60 {
		w.earlier = map[string]bool{}
		w.unsent = w.hasUnsent()
		w.step()
	}
}

// TestRandomSchedules: whenever the program is killed, the next start finds everything as last set. Only what
// systemd had no room for yet is missing. What the program has not, the store of systemd has not, either.
func TestRandomSchedules(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, r: rand.New(rand.NewPCG(uint64(seed), 0)), m: newManager(t)}
			w.m.room = 1 + w.r.IntN(4)
			w.start()
			before := descriptors(t)
			for range 5 {
				w.runUntilKilled()
				w.earlier[w.content()] = true
				unsent := w.unsent || w.hasUnsent()
				w.end()
				found := w.start()
				w.check(found, unsent)
				w.m.logs.want(t)
				w.checkStored()
				if t.Failed() {
					t.Fatalf("seed %d, %d descriptors before, %d after: steps %q", seed, before, descriptors(t), w.log[max(0, len(w.log)-60):])
				}
			}
			w.end()
		})
		if t.Failed() {
			return
		}
	}
}

// check checks what was found, of which files may be missing that could not be sent.
func (w *world) check(found string, unsent bool) {
	if w.earlier[found] {
		return
	}
	parts := strings.Split(found, ", ")
	for content := range w.earlier {
		missing := slices.DeleteFunc(strings.Split(content, ", "), func(part string) bool { return slices.Contains(parts, part) })
		surplus := slices.DeleteFunc(slices.Clone(parts), func(part string) bool { return slices.Contains(strings.Split(content, ", "), part) })
		if unsent && len(surplus) == 0 && !slices.ContainsFunc(missing, func(part string) bool { return !strings.Contains(part, "=") }) {
			return
		}
	}
	w.t.Errorf("found %q, want one of %q", found, slices.Collect(maps.Keys(w.earlier)))
}

// checkStored checks that systemd has each file of the program once, and no others.
func (w *world) checkStored() {
	w.t.Helper()
	different := map[int]bool{}
	for _, i := range w.files {
		different[i] = true
	}
	w.m.want(slices.Sorted(slices.Values(w.storedNames()))...)
	if n := len(w.m.stored); n != len(different)+2 {
		w.t.Errorf("systemd stores %d files, want the log and %d", n, len(different))
	}
}

// storedNames returns the names that the store of the program means to have sent.
func (w *world) storedNames() (names []string) {
	for _, own := range w.store.order {
		names = append(names, own.name[strings.LastIndex(own.name, ".")+1:])
	}
	return names
}
