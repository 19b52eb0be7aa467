package autorestart

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
)

// RejectedError tells why a file that appeared at the path is not executed. What
// runs goes on running.
type RejectedError struct {
	Path     string
	Found    string // what the file is
	Expected string // what it would have to be

	// Retryable: the file may become fit as it is, because it is still being
	// written or its mode still being set. It is looked at again soon; otherwise
	// it is left alone until it changes.
	Retryable bool

	Err error // the cause, where it is an error of its own
}

func (e *RejectedError) Error() string {
	path := ""
	if e.Path != "" {
		path = e.Path + ": "
	}
	return "autorestart: " + path + "found " + e.Found + ", expected " + e.Expected
}

func (e *RejectedError) Unwrap() error { return e.Err }

// unfit and notYet return an *RejectedError without a path. They are not inlined
// because there are many of them, and none is in a hurry.
//
//go:noinline
func unfit(found, expected string) error {
	return &RejectedError{Found: found, Expected: expected}
}

//go:noinline
func notYet(found, expected string, err error) error {
	return &RejectedError{Found: found, Expected: expected, Retryable: true, Err: err}
}

// candidate is a file that may be the next image. It owns file.
type candidate struct {
	_    notComparable
	path string
	file *os.File
	id   fileID
	kind imageKind // set by judge

	times RestartTimes
	build BuildInfo // set before it is executed
}

func (c *candidate) close() { c.file.Close() }

// openCandidate opens what path leads to, without waiting for the writer of a
// named pipe.
func openCandidate(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// openRegular opens the regular file that path leads to. Every error is an
// *RejectedError.
func openRegular(path string) (*candidate, error) {
	f, err := openCandidate(path)
	if err != nil {
		return nil, unreachable(path, err)
	}
	id, err := statFile(f)
	if err == nil && !id.regular {
		err = unfit("something that is not a regular file", "an executable file")
	}
	if err != nil {
		f.Close()
		return nil, asUnfit(path, err)
	}
	return &candidate{path: path, file: f, id: id}, nil
}

// rules are what a candidate is judged by.
type rules struct {
	kind    imageKind // of the running image
	running version   // the running image; owned
	trust   bool      // whoever has written the candidate
}

func newRules(trust bool) (r rules) {
	r.set(trust)
	return r
}

func (r *rules) set(trust bool) {
	r.kind = runningKind()
	r.running.setRunning()
	r.trust = trust
}

func (r *rules) close() { r.running.close() }

// unreachable is why nothing can be said of what is at path: it is not there, or
// not for us, or we are short of something.
func unreachable(path string, err error) error {
	return asUnfit(path, notYet(rootCause(err).Error(), "a file that can be read", err))
}

// judge decides whether c can be executed in the place of the running image. It
// returns nil or an *RejectedError. Permissions and writers come last: they are
// what changes without the content changing.
func (c *candidate) judge(r *rules) error {
	kind, err := readKind(c.file, c.id.size)
	if err == nil {
		err = compareKinds(kind, r.kind)
	}
	if err == nil && kind.elf != nil && kind.elf.interp != "" {
		err = loaderThere(kind.elf.interp)
	}
	if err == nil && !r.trust {
		err = checkTrust(privileges(), c.id, r.running.id)
	}
	if err == nil {
		err = c.executable()
	}
	if err == nil && lacksCapabilities(c.file, r.running.file) {
		err = notYet("a file without capabilities", "some, as the running image has: setcap it", nil)
	}
	if err == nil && openForWriting(c.file) {
		err = notYet("a file open for writing", "a file that has been closed", nil)
	}
	c.kind = kind
	return asUnfit(c.path, err)
}

func (c *candidate) executable() error {
	err := mayExecute(c.path, c.id)
	if err == nil {
		return nil
	}
	return notYet("a file that may not be executed ("+err.Error()+")",
		"execute permission for this user, on a file system without noexec", err)
}

// stillThere returns nil if the path leads to c, unchanged since it was opened:
// the same inode, size, owner, mode, mtime and ctime.
func (c *candidate) stillThere() error {
	now, err := statPath(c.path)
	if err == nil && now == c.id {
		return nil
	}
	return asUnfit(c.path, notYet("a file that was changed while it was looked at", "no change", err))
}

func isNotYet(err error) bool {
	unfit, ok := errors.AsType[*RejectedError](err)
	return ok && unfit.Retryable
}

// asUnfit makes every error that came up while looking at path an *RejectedError.
func asUnfit(path string, err error) error {
	if err == nil {
		return nil
	}
	if unfit, ok := errors.AsType[*RejectedError](err); ok {
		at := *unfit // it may be the caller's
		at.Path = path
		return &at
	}
	// It became shorter while it was read, or the file system has a fault that
	// may pass.
	return unreachable(path, err)
}

func loaderThere(interp string) error {
	_, err := statPath(interp)
	if err == nil {
		return nil
	}
	// It may come with the same package.
	return notYet("a program that needs the dynamic loader "+interp+" ("+rootCause(err).Error()+")",
		"a program whose loader is installed", err)
}

// imageKind is what kind of program a file is: for which machine, in which
// format.
type imageKind struct {
	elf   *elfImage // nil for any other format
	magic string    // how a file of any other format starts
}

// readKind reads the kind of a file, and whether it is complete as far as its
// format tells. Its errors are *UnfitErrors without a path, or what r answers.
func readKind(r io.ReaderAt, size int64) (imageKind, error) {
	f := elfFile{r: r, size: size}
	err := f.parse()
	switch err {
	case nil:
		img := f.elfImage
		return imageKind{elf: &img}, nil
	case errNotELF:
		return imageKind{magic: magicOf(f.header)}, nil
	case errELFShort:
		if size == 0 {
			return imageKind{}, notYet("an empty file", "an executable", nil)
		}
		expected := "one with its headers and all that they tell of"
		if f.extent > size {
			expected = strconv.FormatInt(f.extent, 10) + " bytes by its headers"
		}
		err = notYet(err.Error()+" ("+strconv.FormatInt(size, 10)+" bytes)", expected, nil)
	}
	return imageKind{}, err
}

// magicOf returns the bytes that a file shares with every other program of its
// format and machine: eight in Mach-O (magic and CPU type), two elsewhere.
func magicOf(head []byte) string {
	if len(head) >= 8 {
		switch string(head[:4]) {
		case "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe":
			return string(head[:8])
		}
	}
	return string(head[:min(2, len(head))])
}

// compareKinds returns nil if found can run where like runs, as far as like is
// known.
func compareKinds(found, like imageKind) error {
	if like == (imageKind{}) || found.String() == like.String() {
		return nil
	}
	return unfit(found.String(), like.String()+", as the running image is")
}

// String tells everything that a kernel goes by when it decides whether it can
// run a file.
func (k imageKind) String() string {
	if k.elf == nil {
		return "a file that starts with " + strconv.Quote(k.magic)
	}
	bits, order := "32", "little"
	if k.elf.class == 2 {
		bits = "64"
	}
	if k.elf.data == 2 {
		order = "big"
	}
	return "an ELF executable for " + elfMachine(k.elf.machine) + " (" + bits + " bit, " + order + "-endian)"
}

// elfMachines are the machines that Go runs on, each by the beginning of its
// GOARCH values.
var elfMachines = [...]struct {
	machine uint16
	name    string
}{
	{3, "386"}, {62, "amd64"}, {183, "arm64"}, {40, "arm"}, {243, "riscv"}, {258, "loong64"},
	{8, "mips"}, {21, "ppc64"}, {22, "s390x"}, {43, "sparc64"},
}

func elfMachine(machine uint16) string {
	for _, m := range elfMachines {
		if m.machine == machine {
			return m.name
		}
	}
	return "machine " + strconv.Itoa(int(machine))
}

// rootCause takes off what the caller says anyway: operation and path.
func rootCause(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
