// Package trailer makes versions of a program from one executable. Each version has
// bytes of its own after the end of the ELF file, which the kernel ignores.
package trailer

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Faults that a version may have. A version without a fault has "".
const (
	Panics          = "panic"   // in main
	PanicsElsewhere = "gopanic" // in another goroutine
	Exits           = "exit"    // calls os.Exit
	Fatal           = "fatal"   // calls log.Fatal
	Segfault        = "segv"    // gets SIGSEGV
	Unready         = "unready" // never ready
	HangsInInit     = "init"    // of a package other than main
)

// Append writes the trailer of a version. The fault has eight bytes at most.
func Append(w io.Writer, version int, fault string) error {
	_, err := fmt.Fprintf(w, "%8d%8s", version, fault)
	return err
}

// Read reads the trailer of the running executable, even if its path leads to another
// file by now. It panics if the executable has no trailer.
func Read() (version int, fault string) {
	const size = 8 + 8
	last, err := tail("/proc/self/exe", size)
	if err == nil {
		version, err = strconv.Atoi(strings.TrimSpace(last[:8]))
	}
	if err != nil {
		panic(fmt.Sprintf("cannot read the trailer of this executable: %v", err))
	}
	return version, strings.TrimSpace(last[8:])
}

// tail returns the last n bytes of a file.
func tail(name string, n int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Seek(-n, io.SeekEnd); err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	return string(b), err
}
