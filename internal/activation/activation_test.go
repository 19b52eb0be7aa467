package activation

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	for _, test := range []struct {
		pid, fds, names string
		want            []string
		err             error
	}{
		{"", "", "", nil, nil},
		{"100", "2", "a:b", []string{"a", "b"}, nil},
		{"100", "2", "", []string{"", ""}, nil},
		{"100", "3", "a::", []string{"a", "", ""}, nil},
		{"100", "1", "a:b:c", []string{"a"}, nil},
		{"100", "0", "", []string{}, nil},
		{"99", "2", "", nil, ErrOtherProcess},
		{"100", "-1", "", nil, ErrMalformed},
		{"100", "1000000", "", nil, ErrMalformed},
		{"100", "", "", nil, ErrMalformed},
		{"", "1", "", nil, ErrMalformed},
		{"100 ", "1", "", nil, ErrMalformed},
		{"4294967396", "1", "", nil, ErrMalformed}, // 100 in 32 bits
	} {
		v := Variables{PID: test.pid, FDs: test.fds, FDNames: test.names}
		names, err := v.For(100)
		if !slices.Equal(names, test.want) || err != test.err {
			t.Errorf("%+v: %q, %v; expected %q, %v", v, names, err, test.want, test.err)
		}
	}
}

func TestAnnouncedProcess(t *testing.T) {
	const pid, id = 4711, 1234567890123
	for _, test := range []struct {
		name                  string
		pid, pidfdID, execPID string
		process               process
		want                  bool
	}{
		{"that process", "4711", "", "4711", process{pid: pid}, true},
		{"another one", "4711", "", "4711", process{pid: 4712}, false},
		{"another one, with a pidfd", "4711", "", "4711", process{pid: 4712, id: id}, false},
		{"its inode", "4711", "1234567890123", "", process{pid: pid, id: id}, true},
		{"a process that had its PID", "4711", "1234567890122", "4711", process{pid: pid, id: id}, false},
		{"its inode, in another namespace", "4711", "1234567890123", "", process{pid: 1, id: id}, true},
		{"no number", "4711", "x", "4711", process{pid: pid, id: id}, false},
		{"no pidfs", "4711", "1234567890122", "4711", process{pid: pid}, true},
		{"no pidfs, another one", "4711", "1234567890123", "4711", process{pid: 4712}, false},
		{"process 1", "4711", "", "4711", process{pid: 1, procIsOwn: true}, true},
		{"process 1 of a child", "4711", "", "4711", process{pid: 1}, false},
		{"a child of process 1", "4711", "", "4711", process{pid: 2, procIsOwn: true}, false},
		{"process 1, of another service", "4711", "", "4712", process{pid: 1, procIsOwn: true}, false},
		{"process 1 without systemd", "4711", "", "", process{pid: 1, procIsOwn: true}, false},
		{"process 1 of another inode", "4711", "1234567890122", "4711", process{pid: 1, id: id, procIsOwn: true}, false},
		{"process 1 of a container", "1", "", "", process{pid: 1, procIsOwn: true}, true},
	} {
		v := Variables{PID: test.pid, FDs: "1", PIDFDID: test.pidfdID, ExecPID: test.execPID}
		_, err := v.names(test.process)
		if want := map[bool]error{false: ErrOtherProcess, true: nil}[test.want]; err != want {
			t.Errorf("%s: %v, expected %v", test.name, err, want)
		}
	}
}
