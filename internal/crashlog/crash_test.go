package crashlog

import (
	"bytes"
	"errors"
	"maps"

	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// A step of a schedule changes a log.
type step struct {
	replace bool // Replace, not Write
	open    bool // before that, as another process
	changes []Change
}

func (s step) take(l *Log) error {
	if s.replace {
		return l.Replace(s.changes)
	}
	return l.Write(s.changes...)
}

// after returns what the step makes of the content.
func (s step) after(content map[string]string) map[string]string {
	if s.replace {
		content = map[string]string{}
	}
	return apply(content, s.changes)
}

func randomSchedule(r *rand.Rand, large bool) (schedule []step) {
	for range 3 + r.IntN(12) {
		s := step{replace: r.IntN(10) == 0, open: r.IntN(5) == 0}
		for range r.IntN(4) {
			value := make([]byte, r.IntN(20))
			switch {
			case r.IntN(5) == 0:
				value = nil
			case large && r.IntN(3) == 0:
				value = make([]byte, r.IntN(2*bufferSize))
			}
			fill(r, value)
			s.changes = append(s.changes, Change{strconv.Itoa(r.IntN(6)), value})
		}
		schedule = append(schedule, s)
	}
	return schedule
}

// fill writes what looks like the parts of a log, too.
func fill(r *rand.Rand, value []byte) {
	for i := range value {
		value[i] = byte(r.IntN(256))
	}
	switch r.IntN(4) {
	case 0:
		copy(value, magic)
	case 1:
		clear(value)
	}
}

// runUntilFailure takes the steps, and returns the content as they have set it: before a step that
// fails, and after it.
func runUntilFailure(t *testing.T, files [2]File, schedule []step) (before, after map[string]string, err error) {
	t.Helper()
	l, read, err := Open(files)
	if err != nil {
		t.Fatal(err)
	}
	content := texts(read)
	for _, s := range schedule {
		if s.open {
			if l, _, err = Open(files); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.take(l); err != nil {
			return content, s.after(content), err
		}
		content = s.after(content)
	}
	return content, content, nil
}

// TestCrashes: whatever a process has written when it is killed, in the middle of a write, too,
// the next one finds the values as last set, goes on with them, and is killed again.
func TestCrashes(t *testing.T) {
	withSlack(t, 100)
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		for _, discards := range []bool{false, true} {
			r := rand.New(rand.NewPCG(uint64(seed), 0))
			large := seed%6 == 5
			start := memories()
			newLog(t, asFiles(start), Change{"0", []byte("first")})
			for range 3 { // processes, one after the other
				schedule := randomSchedule(r, large)
				start = crashEverywhere(t, r, start, schedule, discards)
				if t.Failed() {
					t.Fatalf("seed %d, discards %v, schedule %.2000v", seed, discards, schedule)
				}
			}
		}
	}
}

// crashEverywhere runs the schedule once for each moment at which the process may be killed. It
// returns what one of these processes leaves behind.
func crashEverywhere(t *testing.T, r *rand.Rand, start [2]*memory, schedule []step, discards bool) (left [2]*memory) {
	var moments []int
	files := copied(start)
	if _, _, err := runUntilFailure(t, faultyFiles(files, recordingWrites(&moments), discards), schedule); err != nil {
		t.Error(err)
	}
	moments = allMoments(r, moments)
	chosen := r.IntN(len(moments))
	for i, moment := range moments {
		files := copied(start)
		before, after, err := runUntilFailure(t, faultyFiles(files, crashAfter(moment), discards), schedule)
		if err != nil && !errors.Is(err, errCrash) {
			t.Error(err)
		}
		if i == chosen {
			left = copied(files)
		}
		_, got, err := Open(asFiles(copied(files)))
		if content := texts(got); err != nil || !maps.Equal(content, before) && !maps.Equal(content, after) {
			t.Errorf("found %.1000q, %v; want %.1000q or %.1000q", content, err, before, after)
		}
		goesOn(t, files, texts(got))
		if t.Failed() {
			t.Errorf("killed after %d bytes", moment)
			return start
		}
	}
	return left
}

// allMoments returns each byte after which a process can be killed, if these are not too many,
// and otherwise those around the given ones and some others.
func allMoments(r *rand.Rand, moments []int) []int {
	last := slices.Max(append(moments, 0))
	var all []int
	if last <= 300 {
		for i := range last + 1 {
			all = append(all, i)
		}
		return all
	}
	for i, moment := range moments {
		all = append(all, moment)
		if i > 0 && moments[i-1] < moment {
			all = append(all, moments[i-1]+1, moment-1, moments[i-1]+r.IntN(moment-moments[i-1]))
		}
	}
	return all
}

// goesOn checks that a log can be used after a crash, and begin anew.
func goesOn(t *testing.T, files [2]*memory, content map[string]string) {
	t.Helper()
	l, _, err := Open(asFiles(files))
	if err != nil {
		t.Fatal(err)
	}
	change := []Change{{"0", []byte("after")}}
	content = apply(content, change)
	for range 2 {
		write(t, l, change...)
		checkContent(t, asFiles(copied(files)), content)
	}
	if err := l.Replace(change); err != nil {
		t.Fatal(err)
	}
	checkContent(t, asFiles(files), map[string]string{"0": "after"})
}

// TestCrashInNew: the content is the old one or the new one.
func TestCrashInNew(t *testing.T) {
	old := memories()
	l := newLog(t, asFiles(old), Change{"old", bytes.Repeat([]byte("x"), 300)})
	write(t, l, Change{"old", []byte("set")})
	content := []Change{{"new", bytes.Repeat([]byte("y"), 200)}}
	for name, start := range map[string][2]*memory{"over a log": old, "in empty files": memories()} {
		for _, discards := range []bool{false, true} {
			done := false
			for moment := 0; !done; moment++ {
				files := copied(start)
				_, err := New(faultyFiles(files, crashAfter(moment), discards), content)
				done = moment > 1000
				switch _, got, openErr := Open(asFiles(files)); {
				case err == nil:
					checkContent(t, asFiles(files), apply(map[string]string{}, content))
				case !errors.Is(err, errCrash):
					t.Error(err)
				case maps.Equal(texts(got), apply(map[string]string{}, content)):
					// The bytes that were missing are what was there.
				case start == old:
					checkContent(t, asFiles(files), map[string]string{"old": "set"})
				case !errors.Is(openErr, ErrEmpty) && !errors.Is(openErr, ErrDamaged):
					t.Errorf("%s: killed after %d bytes: found %q, %v", name, moment, got, openErr)
				}
			}
		}
	}
}

// TestErrorsThatPass: a write that fails, at the end of all its bytes, too, has changed
// nothing, and the next one succeeds. Only if the file does not accept the correction either,
// the change may be found after a crash.
func TestErrorsThatPass(t *testing.T) {
	withSlack(t, 100)
	seeds := 1000
	if testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		failures, failing := 0, false
		full := errors.New("no space left")
		fault := func(n int) (int, error) {
			if failing && r.IntN(2) == 0 {
				failures++
				return []int{0, r.IntN(n + 1), n}[r.IntN(3)], full
			}
			return n, nil
		}
		memories := memories()
		files := faultyFiles(memories, fault, seed%2 == 0)
		l := newLog(t, files, Change{"0", []byte("first")})
		content := map[string]string{"0": "first"}
		var uncorrected []map[string]string // since the last change that succeeded
		for _, s := range append(randomSchedule(r, seed%50 == 0), randomSchedule(r, false)...) {
			failing = r.IntN(2) == 0
			failures = 0
			err := s.take(l)
			failing = false
			_, got, openErr := Open(asFiles(copied(memories)))
			found := func(content map[string]string) bool { return maps.Equal(texts(got), content) }
			if err == nil && (s.replace || len(s.changes) > 0) {
				content, uncorrected = s.after(content), nil
			} else if failures > 1 {
				uncorrected = append(uncorrected, s.after(content))
			}
			switch {
			case err != nil && (err != full || failures == 0):
				t.Errorf("seed %d: %v after %d failures", seed, err, failures)
			case !found(content) && !slices.ContainsFunc(uncorrected, found):
				t.Errorf("seed %d: found %q, %v; want %q; %v", seed, got, openErr, content, err)
			}
			if t.Failed() {
				t.Fatalf("step %.1000v", s)
			}
		}
		change := Change{"last", []byte{byte(seed)}}
		write(t, l, change)
		content = apply(content, []Change{change})
		checkContent(t, asFiles(copied(memories)), content)
		goesOn(t, memories, content)
	}
}

// TestNoRoomForBoth: if there is no memory for another slot, the log goes on in the current
// one, and does not try again with each Write.
func TestNoRoomForBoth(t *testing.T) {
	withSlack(t, 100)
	memories := memories()
	attempts, full := 0, errors.New("no space left")
	l := newLog(t, asFiles(memories), Change{"a", bytes.Repeat([]byte("x"), 1000)})
	l.files[1-l.current] = &faulty{memories[1-l.current], func(int) (int, error) {
		attempts++
		return 0, full
	}}
	for i := range 1000 {
		write(t, l, Change{"b", []byte{byte(i), 99: 0}})
	}
	if attempts == 0 || attempts > 300 {
		t.Errorf("%d attempts to write to the other slot", attempts)
	}
	checkContent(t, asFiles(memories), map[string]string{"a": string(bytes.Repeat([]byte("x"), 1000)), "b": string([]byte{999 % 256, 99: 0})})
	if err := l.Replace(nil); err != full {
		t.Error(err)
	}
}
