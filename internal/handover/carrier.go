package handover

import (
	"errors"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// A [State] crosses the exec in a file without a name, its carrier, and the variable only
// says which descriptor that is. The file has no limit, and no process can read it in
// /proc/PID/environ. There are two exceptions:
//   - No such file can be made: there is neither memfd_create(2) nor a temporary directory.
//     Then the variable holds the State, or as much of it as fits; Missing and Closed count the rest.
//     The manifest is then a text of the State, too. If descriptors or memory are short,
//     which may pass, the exec fails unless everything fits.
//   - The image that is executed does not know carriers. Then the variable holds the State.
//     Such an image contains a version of this library from before [firstCarrier], by its
//     build information. In a rollback it is one that has itself handed over in the
//     variable. A program without a version, as from a work tree, counts as a later one.

// firstCarrier is the time of the first version of this library that reads a carrier, as
// pseudo-versions write it.
const firstCarrier = "20261126110000"

// KnowsCarrier reports whether the version of this library, as build information names
// it, reads a carrier. Every release does.
func KnowsCarrier(version string) bool { return isSince(version, firstCarrier) }

// firstConnections is the same of the first version that knows connections that were not
// accepted yet and connections with the beginning of a request, see package sockets.
const firstConnections = "20261126150000"

// KnowsConnections reports whether the version of this library knows all kinds of connections.
// An earlier one closes those of a kind that it does not know. Every release knows them.
func KnowsConnections(version string) bool { return isSince(version, firstConnections) }

// firstStandIn is the same of the first version that can be a stand-in, and that takes over the
// stand-ins of the image before.
const firstStandIn = "20261127160000"

// KnowsStandIns reports whether the version of this library can be a stand-in and have some. Every
// release can.
func KnowsStandIns(version string) bool { return isSince(version, firstStandIn) }

// PreviousKnowsStandIns reports whether the version to which this state rolls back can have stand-ins.
func (s *State) PreviousKnowsStandIns() bool { return s.Number(Connections) >= 2 }

// isSince reports whether a version of this library is from the given time or later. One
// without a time is.
func isSince(version, first string) bool {
	// v0.0.0-20260102150405-0123456789ab
	const prefix = "v0.0.0-"
	if len(version) < len(prefix)+len(first) || version[:len(prefix)] != prefix {
		return true
	}
	return version[len(prefix):][:len(first)] >= first
}

// maxCarrier is the length in bytes of the longest carrier that is read: no State that [Parse]
// accepts is longer.
const maxCarrier = 32 << 20

// maxVariable is the length in bytes of the longest value that execve(2) takes with the
// name of the variable: together 128 KiB, with an equals sign and a NUL.
const maxVariable = 128<<10 - len(Env) - 2

// maxAttester is the room in the variable for the descriptor of an attester.
const maxAttester = len("attester=2147483647,")

// pack returns the variable that stands for s, and makes its carrier, or leaves out what the
// variable has no room for. The caller calls release when the exec has failed.
func (s *State) pack() (variable string, release func(), err error) {
	s.Numbers[Carrier], s.Numbers[Attester] = nil, nil
	if !s.InVariable {
		var fd int
		if fd, release, err = s.memoryFile(writtenFile, always([]byte(s.String()))); err == nil {
			s.Set(Carrier, fd)
			var named State
			for _, kind := range [...]NumberKind{PID, Generation, Channel, Carrier} {
				named.Numbers[kind] = s.Numbers[kind]
			}
			return named.String(), release, nil
		}
	}
	files, lists := len(s.Numbers[File]), len(s.Texts[PreviousArgs])+len(s.Texts[PreviousEnv])
	s.fit(maxVariable - maxAttester)
	switch {
	case (len(s.Numbers[File]) < files || lists > maxLists) && MayPass(err):
		return "", nil, err
	case lists > maxLists:
		return "", nil, errNoRoom
	}
	return s.String(), func() {}, nil
}

// maxLists is the length in bytes of the lists that cross in the variable.
const maxLists = maxVariable / 4

var errNoRoom = errors.New("cannot create a file for the arguments and the environment of the previous version, " +
	"which a rollback needs; allow memfd_create, or make TMPDIR writable")

// FileContent returns the content of a file. inMemory is false for a file that may be on a disk.
type FileContent func(inMemory bool) []byte

func always(b []byte) FileContent { return func(bool) []byte { return b } }

// MayPass reports whether an error of [MemoryFile] is one that may pass: descriptors, memory
// or room on a disk are short.
func MayPass(err error) bool {
	switch err {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT, syscall.EAGAIN:
		return true
	}
	return false
}

// fit leaves out files until the text form of s has at most the given length in bytes: the
// Expendable ones, and then the last of the others.
func (s *State) fit(limit int) {
	all, missing, closed := s.Numbers[File], s.Number(Missing), s.Number(Closed)
	for n := 0; len(s.String()) > limit && n < len(all); {
		n += (len(all)-n)/16 + 1
		connections := min(n, len(s.Expendable))
		others := n - connections
		kept := without(all, s.Expendable[:connections])
		s.Numbers[File] = kept[:len(kept)-others]
		if connections > 0 {
			s.Set(Closed, closed+connections)
		}
		if others > 0 {
			s.Set(Missing, missing+others)
		}
	}
}

// without returns the numbers that are not among those left out.
func without(numbers, leftOut []int) (kept []int) {
	out := make(map[int]bool, len(leftOut))
	for _, n := range leftOut {
		out[n] = true
	}
	for _, n := range numbers {
		if !out[n] {
			kept = append(kept, n)
		}
	}
	return kept
}

// unpack returns what s, which was parsed from the variable, stands for.
func (s *State) unpack() (unpacked State, ignored string) {
	fd := s.Number(Carrier)
	if fd == 0 {
		s.InVariable = s.Number(Attester) == 0 // which no version from before carriers has
		s.Numbers[Attester] = nil
		return *s, ""
	}
	b, err := ReadMemoryFile(fd, maxCarrier)
	if err != nil {
		return State{}, "its carrier can't be read: " + err.Error()
	}
	rawsys.Close(fd)
	unpacked, ignored = Parse(string(b), s.Number(PID))
	unpacked.Numbers[Carrier], unpacked.Numbers[Attester] = nil, nil // these are of the variable
	return unpacked, ignored
}
