//go:build !autorestart_portable

package autorestart

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/watch"
)

// inotifyRecord is a record as the kernel writes it; name may hold its padding.
type inotifyRecord struct {
	wd   int32
	mask uint32
	name string
}

// record puts a record together. length is what it says of its name.
func (r inotifyRecord) record(length uint32) []byte {
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, uint32(r.wd))
	b = binary.NativeEndian.AppendUint32(b, r.mask)
	b = binary.NativeEndian.AppendUint32(b, 77) // the cookie
	b = binary.NativeEndian.AppendUint32(b, length)
	return append(b, r.name...)
}

func (r inotifyRecord) whole() []byte { return r.record(uint32(len(r.name))) }

func collectEvents(b []byte) (records []inotifyRecord) {
	for {
		event, name, rest, ok := cutEvent(b)
		if !ok {
			return records
		}
		records = append(records, inotifyRecord{event.Wd, event.Mask, string(name)})
		b = rest
	}
}

func TestInotifyEvents(t *testing.T) {
	a := inotifyRecord{1, unix.IN_CREATE, "app"}
	padded := inotifyRecord{2, unix.IN_MOVED_TO, "app.new" + strings.Repeat("\x00", 9)}
	unpadded := inotifyRecord{2, unix.IN_MOVED_TO, "app.new"}
	bare := inotifyRecord{3, unix.IN_DELETE_SELF, ""}
	overflow := inotifyRecord{-1, unix.IN_Q_OVERFLOW, ""}
	longest := inotifyRecord{4, unix.IN_CREATE, strings.Repeat("x", 255)}

	tests := []struct {
		name string
		b    []byte
		want []inotifyRecord
	}{
		{"nothing", nil, nil},
		{"one", a.whole(), []inotifyRecord{a}},
		{"padded name", padded.whole(), []inotifyRecord{unpadded}},
		{"no name", bare.whole(), []inotifyRecord{bare}},
		{"nothing but padding", inotifyRecord{3, 0, "\x00\x00\x00\x00"}.whole(), []inotifyRecord{{3, 0, ""}}},
		{"what comes after the NUL", inotifyRecord{3, 0, "a\x00bc"}.whole(), []inotifyRecord{{3, 0, "a"}}},
		{"overflow", overflow.whole(), []inotifyRecord{overflow}},
		{"the longest name", longest.whole(), []inotifyRecord{longest}},
		{"several", slices.Concat(a.whole(), padded.whole(), bare.whole(), overflow.whole(), longest.whole()),
			[]inotifyRecord{a, unpadded, bare, overflow, longest}},
		{"all bits", inotifyRecord{-1 << 31, 1<<32 - 1, ""}.whole(), []inotifyRecord{{-1 << 31, 1<<32 - 1, ""}}},

		{"cut in the head", a.whole()[:15], nil},
		{"cut after the head", padded.whole()[:16], nil},
		{"cut in the name", padded.whole()[:20], nil},
		{"cut second record", slices.Concat(a.whole(), padded.whole()[:20]), []inotifyRecord{a}},
		{"length beyond the end", a.record(4), nil},
		{"length absurd", a.record(1<<32 - 1), nil},
		{"length negative", a.record(1 << 31), nil},
		{"more than a record", slices.Concat(bare.whole(), []byte{1, 2, 3}), []inotifyRecord{bare}},
	}
	for _, test := range tests {
		if got := collectEvents(test.b); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

func FuzzInotifyEvents(f *testing.F) {
	f.Add([]byte{})
	f.Add(inotifyRecord{1, unix.IN_CREATE, "app\x00"}.whole())
	f.Add(slices.Concat(inotifyRecord{1, unix.IN_CREATE, "app\x00"}.whole(), inotifyRecord{-1, unix.IN_Q_OVERFLOW, ""}.whole()))
	f.Add(inotifyRecord{1, unix.IN_CREATE, "app"}.record(1<<32 - 1))
	f.Add(inotifyRecord{1, unix.IN_CREATE, "app"}.whole()[:17])
	f.Fuzz(func(t *testing.T, b []byte) {
		// The same, as a description of the format would have it.
		var want []inotifyRecord
		for rest := bytes.Clone(b); ; {
			var head struct {
				Wd                int32
				Mask, Cookie, Len uint32
			}
			r := bytes.NewReader(rest)
			if binary.Read(r, binary.NativeEndian, &head) != nil || int64(head.Len) > int64(r.Len()) {
				break
			}
			name, _, _ := strings.Cut(string(rest[16:16+head.Len]), "\x00")
			want = append(want, inotifyRecord{head.Wd, head.Mask, name})
			rest = rest[16+head.Len:]
		}
		if got := collectEvents(b); !slices.Equal(got, want) {
			t.Errorf("%x: got %+v, want %+v", b, got, want)
		}
	})
}

// openInotify is an event source of its own.
func openInotify(t *testing.T) *inotify {
	t.Helper()
	e, err := self().events.Open()
	if errors.Is(err, unix.EMFILE) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e.(*inotify)
}

func TestInotifyConcerns(t *testing.T) {
	n := openInotify(t)
	n.dirs.Steps = []watch.WatchedStep{
		{Step: candidate.Step{Dir: "/", Name: "srv"}, Watch: 1},
		{Step: candidate.Step{Dir: "/srv", Name: "current"}, Watch: 2},
		{Step: candidate.Step{Dir: "/srv", Name: "releases"}, Watch: 2}, // two steps in one directory
		{Step: candidate.Step{Dir: "/srv/releases", Name: "1"}, Watch: 3},
		{Step: candidate.Step{Dir: "/srv/releases/1", Name: "app"}, Watch: 4},
	}
	tests := []struct {
		name  string
		event inotifyRecord
		want  bool
	}{
		{"the file moved in", inotifyRecord{4, unix.IN_MOVED_TO, "app"}, true},
		{"the file closed", inotifyRecord{4, unix.IN_CLOSE_WRITE, "app"}, true},
		{"its mode set", inotifyRecord{4, unix.IN_ATTRIB, "app"}, true},
		{"a link flipped", inotifyRecord{2, unix.IN_MOVED_TO, "current"}, true},
		{"the other step of that directory", inotifyRecord{2, unix.IN_CREATE | unix.IN_ISDIR, "releases"}, true},
		{"a directory on the way", inotifyRecord{1, unix.IN_CREATE | unix.IN_ISDIR, "srv"}, true},

		{"another file", inotifyRecord{4, unix.IN_CLOSE_WRITE, "app.log"}, false},
		{"the start of the name", inotifyRecord{4, unix.IN_CLOSE_WRITE, "ap"}, false},
		{"another case", inotifyRecord{4, unix.IN_CLOSE_WRITE, "App"}, false},
		{"the name in another directory", inotifyRecord{3, unix.IN_CLOSE_WRITE, "app"}, false},
		{"no name", inotifyRecord{4, unix.IN_ATTRIB, ""}, false}, // of the directory itself

		{"overflow", inotifyRecord{-1, unix.IN_Q_OVERFLOW, ""}, true},
		{"the directory renamed", inotifyRecord{3, unix.IN_MOVE_SELF, ""}, true},
		{"the directory removed", inotifyRecord{3, unix.IN_DELETE_SELF, ""}, true},
		{"the watch ended", inotifyRecord{3, unix.IN_IGNORED, ""}, true},
		{"the file system unmounted", inotifyRecord{3, unix.IN_UNMOUNT, ""}, true},

		{"a watch of the image before", inotifyRecord{99, unix.IN_CREATE, "app"}, false},
		{"its end", inotifyRecord{99, unix.IN_IGNORED, ""}, false},
		{"its directory renamed", inotifyRecord{99, unix.IN_MOVE_SELF, ""}, false},
	}
	for _, test := range tests {
		event := unix.InotifyEvent{Wd: test.event.wd, Mask: test.event.mask}
		if got := n.concerns(event, []byte(test.event.name)); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}

// TestInotifyUnknownWatch: a watch of the image before, which this one does not need, is
// removed at its first event.
func TestInotifyUnknownWatch(t *testing.T) {
	n := openInotify(t)
	dir := t.TempDir()
	wd, err := unix.InotifyAddWatch(n.fd.Int(), dir, stepEvents)
	if err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(dir, "x"))
	if queued(t, n) {
		t.Error("an event of a directory off the path counted")
	}
	if _, err := unix.InotifyRmWatch(n.fd.Int(), uint32(wd)); err != unix.EINVAL {
		t.Errorf("the watch is still there: %v", err)
	}
	if queued(t, n) {
		t.Error("the end of its watch counted")
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
}

// touchQuietly is for goroutines, which can't fail a test that may be over.
func touchQuietly(path string) { os.WriteFile(path, nil, 0o755) }

// queued takes what is in the queue, as read does but without waiting, and
// reports whether any of it is a reason to look again.
func queued(t *testing.T, n *inotify) (relevant bool) {
	t.Helper()
	var b [16 << 10]byte
	for {
		got, err := unix.Read(n.fd.Int(), b[:])
		if err == unix.EAGAIN {
			return relevant
		}
		if err != nil {
			t.Fatal(err)
		}
		for event, name, rest, ok := cutEvent(b[:got]); ok; event, name, rest, ok = cutEvent(rest) {
			if n.concerns(event, name) {
				relevant = true
			}
		}
	}
}

// newTree makes directories, files and links; a link is written "name -> target",
// and directories end in a slash.
func newTree(t *testing.T, entries ...string) (root string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name, target, isLink := strings.Cut(entry, " -> ")
		path := filepath.Join(root, name)
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, nil, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestInotifyArm(t *testing.T) {
	mv := func(from, to string) func(string) error {
		return func(root string) error { return os.Rename(filepath.Join(root, from), filepath.Join(root, to)) }
	}
	ln := func(target, name string) func(string) error {
		return func(root string) error { return os.Symlink(target, filepath.Join(root, name)) }
	}
	mkdir := func(name string) func(string) error {
		return func(root string) error { return os.Mkdir(filepath.Join(root, name), 0o755) }
	}
	rm := func(name string) func(string) error {
		return func(root string) error { return os.RemoveAll(filepath.Join(root, name)) }
	}
	write := func(name string) func(string) error {
		return func(root string) error { return os.WriteFile(filepath.Join(root, name), nil, 0o755) }
	}
	chmod := func(name string) func(string) error {
		return func(root string) error { return os.Chmod(filepath.Join(root, name), 0o711) }
	}
	all := func(parts ...func(string) error) func(string) error {
		return func(root string) error {
			for _, part := range parts {
				if err := part(root); err != nil {
					return err
				}
			}
			return nil
		}
	}
	// A step is something that happens; event tells whether the watches that
	// the step before left must notice, and changed whether they, or the file, differ after it.
	type step struct {
		name           string
		do             func(root string) error
		event, changed bool
	}
	tests := []struct {
		name  string
		tree  []string
		path  string
		steps []step
	}{
		{"a plain file", []string{"bin/", "bin/app", "other/"}, "bin/app", []step{
			{"another file", write("bin/log"), false, false},
			{"a file elsewhere", write("other/app"), false, false},
			{"the name one level up", write("app"), false, false},
			{"written", write("bin/app"), true, false},
			{"its mode set", chmod("bin/app"), true, false},
			{"renamed over", all(write("bin/app~"), mv("bin/app~", "bin/app")), true, true},
			{"removed", rm("bin/app"), true, true},
			{"back", write("bin/app"), true, true},
			{"renamed away", mv("bin/app", "bin/app.old"), true, true},
			{"a symbolic link in its place", ln("../other/app", "bin/app"), true, true},
			{"the link's target written", write("other/app"), true, false},
		}},
		{"a link flipped in the middle", []string{"rel/1/", "rel/1/app", "rel/2/", "rel/2/app", "cur -> rel/1"}, "cur/app", []step{
			{"the other release written", write("rel/2/app"), false, false},
			{"flipped", all(ln("rel/2", "cur~"), mv("cur~", "cur")), true, true},
			{"written", write("rel/2/app"), true, false},
			{"the release before written", write("rel/1/app"), false, false},
			{"flipped back, as rm and ln -s do", all(rm("cur"), ln("rel/1", "cur")), true, true},
			{"written again", write("rel/1/app"), true, false},
		}},
		{"a Kubernetes volume", []string{"vol/", "vol/..1/", "vol/..1/app", "vol/..data -> ..1", "vol/app -> ..data/app"}, "vol/app", []step{
			{"the next version prepared", all(mkdir("vol/..2"), write("vol/..2/app"), ln("..2", "vol/..data_tmp")), false, false},
			{"put in place", mv("vol/..data_tmp", "vol/..data"), true, true},
			{"the one before removed", rm("vol/..1"), false, false},
			{"the name itself replaced", all(rm("vol/app"), write("vol/app")), true, true},
		}},
		{"two steps in one directory", []string{"d/", "d/app -> real", "d/real"}, "d/app", []step{
			{"the file written", write("d/real"), true, false},
			{"the link flipped", all(write("d/new"), ln("new", "d/app~"), mv("d/app~", "d/app")), true, true},
			{"the file before written", write("d/real"), false, false},
			{"the new file written", write("d/new"), true, false},
		}},
		{"a directory renamed away and another put in its place", []string{"a/b/", "a/b/app"}, "a/b/app", []step{
			{"renamed away", mv("a/b", "a/old"), true, true},
			{"the old file written", write("a/old/app"), false, false},
			{"the directory back, empty", mkdir("a/b"), true, true},
			{"the file back", write("a/b/app"), true, true},
			{"exchanged at once", all(mv("a/b", "a/older"), mv("a/old", "a/b")), true, true},
			{"written", write("a/b/app"), true, false},
			{"one above renamed and back", all(mv("a", "A"), mv("A", "a")), true, false},
		}},
		{"a directory removed", []string{"a/b/c/", "a/b/c/app"}, "a/b/c/app", []step{
			{"all of it", rm("a"), true, true},
			{"its parent back", mkdir("a"), true, true},
			{"another beside", mkdir("a/x"), false, false},
			{"the next level", mkdir("a/b"), true, true},
			{"the rest", all(mkdir("a/b/c"), write("a/b/c/app")), true, true},
			{"written", write("a/b/c/app"), true, false},
		}},
		{"a file where a directory should be", []string{"a"}, "a/b/app", []step{
			{"put right", all(rm("a"), mkdir("a"), mkdir("a/b"), write("a/b/app")), true, true},
			{"written", write("a/b/app"), true, false},
		}},
		{"a dangling link", []string{"app -> x/app"}, "app", []step{
			{"its directory", mkdir("x"), true, true},
			{"its target", write("x/app"), true, true},
		}},
		{"a loop", []string{"app -> app"}, "app", []step{
			{"mended", all(rm("app"), write("app")), true, true},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := newTree(t, test.tree...)
			path := filepath.Join(root, test.path)
			n := openInotify(t)
			if changed, err := n.Arm(path); err != n.dirs.Silent() || !changed {
				t.Fatalf("first arm: %t, %v", changed, err)
			}
			if changed, err := n.Arm(path); err != n.dirs.Silent() || changed {
				t.Fatalf("second arm: %t, %v", changed, err)
			}
			for _, step := range test.steps {
				queued(t, n)
				if err := step.do(root); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				if event := queued(t, n); event != step.event {
					t.Errorf("%s: event %t", step.name, event)
				}
				changed, err := n.Arm(path)
				if err != n.dirs.Silent() || changed != step.changed {
					t.Errorf("%s: arm: %t, %v", step.name, changed, err)
				}
				checkWatches(t, n, path)
			}
		})
	}
}

// checkWatches compares the watches with what the kernel says of them: each
// step's directory is watched and nothing else.
func checkWatches(t *testing.T, n *inotify, path string) {
	t.Helper()
	want := make(map[int32]bool)
	for _, step := range candidate.PathSteps(path, n.ReadLink) {
		wd, err := unix.InotifyAddWatch(n.fd.Int(), step.Dir, stepEvents|unix.IN_MASK_ADD)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && err != unix.ENOTDIR {
				t.Fatal(err)
			}
			continue
		}
		if !slices.ContainsFunc(n.dirs.Steps, func(s watch.WatchedStep) bool { return s.Step == step && s.Watch == wd }) {
			// A file on the way is a step's directory here, and not there.
			if info, err := os.Stat(step.Dir); err == nil && info.IsDir() {
				t.Errorf("%s is not watched for %s", step.Dir, step.Name)
			}
			unix.InotifyRmWatch(n.fd.Int(), uint32(wd))
			continue
		}
		want[int32(wd)] = true
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(n.fd.Int()))
	if err != nil {
		t.Skip(err)
	}
	if got := bytes.Count(info, []byte("inotify wd:")); got != len(want) {
		t.Errorf("%d watches, want %d:\n%s", got, len(want), info)
	}
}

// TestInotifyArmDenied: a directory that can be searched but not read can't be
// watched.
func TestInotifyArmDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can read every directory")
	}
	root := newTree(t, "a/b/", "a/b/app")
	if err := os.Chmod(filepath.Join(root, "a"), 0o311); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(root, "a"), 0o755)
	n := openInotify(t)
	_, err := n.Arm(filepath.Join(root, "a/b/app"))
	var pathErr *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &pathErr) || pathErr.Path != filepath.Join(root, "a") {
		t.Errorf("got %v", err)
	}
	os.Chmod(filepath.Join(root, "a"), 0o755)
	if changed, err := n.Arm(filepath.Join(root, "a/b/app")); err != n.dirs.Silent() || !changed {
		t.Errorf("mended: %t, %v", changed, err)
	}
}

func TestInotifyWait(t *testing.T) {
	root := newTree(t, "app")
	path := filepath.Join(root, "app")
	n := openInotify(t)
	if _, err := n.Arm(path); err != n.dirs.Silent() {
		t.Fatal(err)
	}
	seen, _ := n.EntryAt(candidate.Step{Dir: root, Name: "app"})
	cause := errors.New("enough")
	ending := func() (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(context.Background())
		return ctx, func() { cancel(cause) }
	}
	ended, end := ending()
	end()
	open, end := ending()
	defer end()
	const long = time.Hour
	check := func(name string, ctx context.Context, d time.Duration, event bool, want error) {
		t.Helper()
		got, err := n.Wait(ctx, d, seen)
		if got != event || err != want {
			t.Errorf("%s: %t, %v; want %t, %v", name, got, err, event, want)
		}
	}
	none := context.Background()
	check("nothing happens", none, time.Millisecond, false, nil)
	check("nothing happens, not ended", open, time.Millisecond, false, nil)
	check("ended before", ended, long, false, cause)
	check("ended before, no limit", ended, 0, false, cause)
	touch(t, path)
	check("something happened", none, long, true, nil)
	touch(t, path)
	check("something happened, no limit", open, 0, true, nil)
	queued(t, n)
	touch(t, path+".log")
	check("something else happened", open, time.Millisecond, false, nil)

	// What was interrupted or timed out before does not matter.
	for range 100 {
		ctx, end := ending()
		go end()
		check("ended meanwhile", ctx, long, false, cause)
	}
	// An interruption that comes as the wait ends does not reach into the next.
	for range 100 {
		touch(t, path)
		ctx, end := ending()
		go end()
		if event, err := n.Wait(ctx, long, seen); event == (err != nil) || err != nil && err != cause {
			t.Errorf("at once: %t, %v", event, err)
		}
		queued(t, n)
		go touchQuietly(path)
		check("the next", none, long, true, nil)
		queued(t, n)
	}
	go touchQuietly(path)
	check("something happens", open, long, true, nil)

	n.file.Close()
	if event, err := n.Wait(open, long, seen); event || err == nil || err == cause {
		t.Errorf("closed: %t, %v", event, err)
	}
}

// TestInotifyOverflow: the kernel's queue has a limit.
func TestInotifyOverflow(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a queue")
	}
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil || most > 20000 {
		t.Skipf("the queue holds %s events", limit)
	}
	root := newTree(t, "app", "x", "y")
	n := openInotify(t)
	if _, err := n.Arm(filepath.Join(root, "app")); err != n.dirs.Silent() {
		t.Fatal(err)
	}
	// Equal events in a row are one.
	x, errX := unix.Open(filepath.Join(root, "x"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	y, errY := unix.Open(filepath.Join(root, "y"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(x)
	defer unix.Close(y)
	for range most/2 + 1 {
		unix.Fchmod(x, 0o755)
		unix.Fchmod(y, 0o755)
	}
	if event, err := n.Wait(context.Background(), time.Hour, watch.EntryID{}); !event || err != nil {
		t.Errorf("%t, %v", event, err)
	}
}

// TestInotifyReadAllocs: events of other files cost no memory, however many come.
func TestInotifyReadAllocs(t *testing.T) {
	root := newTree(t, "app", "x", "a-rather-long-name-for-a-file-that-is-not-on-the-path")
	n := openInotify(t)
	if _, err := n.Arm(filepath.Join(root, "app")); err != n.dirs.Silent() {
		t.Fatal(err)
	}
	var fds []int
	for _, name := range []string{"x", "a-rather-long-name-for-a-file-that-is-not-on-the-path"} {
		fd, err := unix.Open(filepath.Join(root, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	allocs := testing.AllocsPerRun(100, func() {
		for range 10 {
			for _, fd := range fds {
				unix.Fchmod(fd, 0o755)
			}
		}
		if relevant, err := n.read(); relevant || err != nil {
			t.Errorf("%t, %v", relevant, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// An event that can't be read is a reason to look.
func TestInotifyForeignEvent(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	w.Write([]byte{12: 1, 15: 1, 31: 0}) // its length is 1<<24 + 1
	n := &inotify{fd: sys.NewFD(int(r.Fd()))}
	if relevant, err := n.read(); !relevant || err != nil {
		t.Errorf("relevant %t, %v", relevant, err)
	}
}
