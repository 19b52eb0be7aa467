package handover

import "syscall"

// A [State] crosses the exec in a file without a name, its carrier, and the variable only
// says which descriptor that is. The file has no limit, and no process can read it in
// /proc/PID/environ. There are two exceptions:
//   - There is no such file to be had: no memfd_create(2), no temporary directory that can
//     be written. Then the variable holds the State, or what fits of it; Missing counts what
//     does not. A manifest is then a text of the State, too. If it is for want of a
//     descriptor or of memory, which may pass, all has to fit.
//   - The image that is executed knows nothing of carriers. For it the variable holds the
//     State. That is an image whose build information names a version of this library from
//     before [firstCarrier], and one that has itself handed over in the variable, when a
//     version is rolled back to it. A version that can't be told, as one that was built
//     in a work tree, counts as a later one.

// FirstCarrier is the time of the first version of this library that reads a carrier, as
// pseudo-versions write it.
const firstCarrier = "20261126110000"

// KnowsCarrier reports whether the version of this library, as build information names
// it, reads a carrier. Every release does.
func KnowsCarrier(version string) bool {
	// v0.0.0-20260102150405-0123456789ab
	const prefix = "v0.0.0-"
	if len(version) < len(prefix)+len(firstCarrier) || version[:len(prefix)] != prefix {
		return true
	}
	return version[len(prefix):][:len(firstCarrier)] >= firstCarrier
}

// maxVariable is the length in bytes of the longest value that execve(2) takes with the
// name of the variable: together 128 KiB, with an equals sign and a NUL.
const maxVariable = 128<<10 - len(Env) - 2

// maxAttester is the room in the variable for the descriptor of an attester.
const maxAttester = len("attester=2147483647,")

// pack returns the variable that stands for s, and makes its carrier. The caller calls
// release when the exec has failed.
func (s *State) pack() (variable string, release func(), err error) {
	s.Numbers[Carrier], s.Numbers[Attester] = nil, nil
	if !s.InVariable {
		var fd int
		if fd, err = MemoryFile([]byte(s.String())); err == nil {
			s.Set(Carrier, fd)
			var named State
			for _, kind := range [...]NumberKind{PID, Generation, Carrier} {
				named.Numbers[kind] = s.Numbers[kind]
			}
			return named.String(), func() {
				closeDescriptor(fd)
				s.Numbers[Carrier] = nil
			}, nil
		}
	}
	files, missing := s.Numbers[File], s.Numbers[Missing]
	s.fit(maxVariable - maxAttester)
	release = func() { s.Numbers[File], s.Numbers[Missing] = files, missing }
	if len(s.Numbers[File]) < len(files) && MayPass(err) {
		release()
		return "", nil, err
	}
	return s.String(), release, nil
}

// MayPass reports whether an error of [MemoryFile] is one that may pass: descriptors or
// memory are short.
func MayPass(err error) bool {
	return err == syscall.EMFILE || err == syscall.ENFILE || err == syscall.ENOMEM
}

// fit leaves out files until the text form of s has at most the given length in bytes.
func (s *State) fit(limit int) {
	all, missing := s.Numbers[File], s.Number(Missing)
	for kept := len(all); len(s.String()) > limit && kept > 0; {
		kept -= kept/16 + 1
		s.Numbers[File] = all[:kept]
		s.Set(Missing, missing+len(all)-kept)
	}
}

// unpack returns what s, which was parsed from the variable, stands for.
func (s *State) unpack() (unpacked State, ignored string) {
	fd := s.Number(Carrier)
	if fd == 0 {
		s.InVariable = true
		return *s, ""
	}
	b, err := ReadMemoryFile(fd)
	if err != nil {
		return State{}, "its carrier can't be read: " + err.Error()
	}
	closeDescriptor(fd)
	unpacked, ignored = Parse(string(b), s.Number(PID))
	unpacked.Numbers[Carrier], unpacked.Numbers[Attester] = nil, nil // these are of the variable
	return unpacked, ignored
}
