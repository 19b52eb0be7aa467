//go:build !autorestart_portable

package fdstore

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// The files in testdata are what other versions of this library have stored, or may store later. A golden file is never
// changed; a new format gets a new file. internal/crashlog has those of the form of the log itself.
//
// A file has a line for each name in systemd's store and for each record of the log. The IDs are examples.
var golden = []struct {
	name    string
	written bool // by this version
	kept    string
}{
	{"set-1.golden", true, "autorestart:secret:keys:k, count:\x00\xff\n41, empty:, file 0=0, file 1=1, socket tcp/0 \":80\" \"[::]:80\" \"\"=1"},
	// With records that this version does not know.
	{"set-later.golden", false, "count:42, file 0=0"},
}

// exampleIDs are the IDs of the files in golden files.
var exampleIDs = []ID{{Dev: 8, Ino: 1000, Access: 2}, {Dev: 8, Ino: 1001, Access: 2}}

// storeGolden stores what set-1.golden contains, in a set made at time 42.
func storeGolden(t *testing.T, m *manager, fds []int) {
	s, err := create(Config{Sender: m, Logger: &m.logs, Limit: 10, Others: 1, Set: "3x5k", Network: 7})
	if err != nil {
		t.Fatal(err)
	}
	s.created = 42
	s.Begin([]passing.KeptFile{file(0, fds[0]), {Name: `socket tcp/0 ":80" "[::]:80" ""`, FD: fds[1]}}, []passing.KeptState{
		state("count", "\x00\xff\n41"), state("empty", ""), state("autorestart:secret:keys", "k"),
	})
	s.KeepFile(file(1, fds[1]))
	s.write(unnamedRecord(fileName("3x5k", "7"))) // a file was about to be sent
	end(s)
}

// lines returns what the manager has stored as a golden file.
func (m *manager) lines(fds []int) string {
	m.t.Helper()
	var lines []string
	for _, p := range m.stored {
		lines = append(lines, "stored "+p.Name)
	}
	_, content, err := crashlog.Open([2]crashlog.File{crashlog.Descriptor(m.find("log0").FD), crashlog.Descriptor(m.find("log1").FD)})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		lines = append(lines, fmt.Sprintf("%q %q", name, content[name]))
	}
	return replaceIDs(m.t, strings.Join(lines, "\n")+"\n", fds, false)
}

// replaceIDs replaces the IDs of files by the examples, or the other way round.
func replaceIDs(t testing.TB, text string, fds []int, examples bool) string {
	t.Helper()
	for i, fd := range fds {
		id, err := IDOf(fd)
		if err != nil {
			t.Fatal(err)
		}
		from, to := id.String(), exampleIDs[i].String()
		if examples {
			from, to = to, from
		}
		text = strings.ReplaceAll(text, " "+from+`"`, " "+to+`"`)
	}
	return text
}

// storeLines has the manager store what a golden file says.
func (m *manager) storeLines(text string, fds []int) {
	m.t.Helper()
	var records []crashlog.Change
	files := slices.Clone(fds)
	var slots Log
	for i := range slots {
		fd, err := newMemory()
		if err != nil {
			m.t.Fatal(err)
		}
		slots[i] = fd
	}
	defer slots.close()
	for line := range strings.Lines(replaceIDs(m.t, text, fds, true)) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "stored "); ok {
			fd := -1
			switch _, part, _ := parseName(name); part {
			case "log0":
				fd = slots[0].Int()
			case "log1":
				fd = slots[1].Int()
			default:
				fd, files = files[0], files[1:]
			}
			m.stored = append(m.stored, Passed{name, duplicate(m.t, fd)})
			continue
		}
		var name, value string
		if _, err := fmt.Sscanf(line, "%q %q", &name, &value); err != nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		records = append(records, crashlog.Change{Name: name, Value: []byte(value)})
	}
	if _, err := crashlog.New(slots.files(), records); err != nil {
		m.t.Fatal(err)
	}
}

// TestGoldenFiles: what other versions have stored is found by a start, and by an image that they execute.
func TestGoldenFiles(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			b, err := os.ReadFile("testdata/" + g.name)
			if err != nil {
				t.Fatal(err)
			}
			fds := []int{socket(t), socket(t)}
			if g.written {
				m := newManager(t)
				storeGolden(t, m, fds)
				if got := m.lines(fds); got != string(b) {
					t.Errorf("this version stores\n%s\nwant\n%s", got, b)
				}
			}
			m := newManager(t)
			m.storeLines(string(b), fds)
			m.wantKept(g.kept, fds...)

			var log Log
			for i := range log {
				log[i] = sys.NewFD(duplicate(t, m.find("log"+strconv.Itoa(i)).FD))
			}
			s, err := Continue(m.config(), log, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Set() != "3x5k" || s.created != 42 || s.others != 1 {
				t.Errorf("set %q, made at %d, %d others", s.Set(), s.created, s.others)
			}
			if !slices.Equal(s.removed, []string{"autorestart.3x5k.7"}) {
				t.Errorf("%q may be stored without a name", s.removed)
			}
			m.logs.want(t)
			end(s)
		})
	}
}
