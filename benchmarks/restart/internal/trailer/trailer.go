// Package trailer makes versions of a program out of one executable: each ends
// with bytes of its own, which ELF leaves to whoever wants them.
package trailer

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Faults that a version may have; "" is none.
const (
	Panics      = "panic"   // in main
	Unready     = "unready" // for ever
	HangsInInit = "init"    // of a package other than main
)

// Append writes the trailer of a version. A fault is eight bytes at most.
func Append(w io.Writer, version int, fault string) error {
	_, err := fmt.Fprintf(w, "%8d%8s", version, fault)
	return err
}

// Read reads the trailer of the executable that is running, wherever its path
// leads by now. It panics if that has none.
func Read() (version int, fault string) {
	const size = 8 + 8
	last, err := tail("/proc/self/exe", size)
	if err == nil {
		version, err = strconv.Atoi(strings.TrimSpace(last[:8]))
	}
	if err != nil {
		panic(fmt.Sprintf("reading the own version: %v", err))
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
