//go:build linux

package daemontest

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const trailerPrefix = "\nautorestart test version "

// TrailerSize is the length of a [Trailer].
const TrailerSize = len(trailerPrefix) + len("00000000\n")

// Trailer returns what a version has after the end of the ELF file.
func Trailer(version int) []byte {
	return fmt.Appendf(nil, "%s%08d\n", trailerPrefix, version)
}

// Image returns the content of a version.
func Image(t testing.TB, version int) []byte {
	t.Helper()
	return append(slices.Clip(Binary(t)), Trailer(version)...)
}

// Binary returns the content of the test binary, which the caller must not change.
func Binary(t testing.TB) []byte {
	t.Helper()
	content, err := readBinary()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

var readBinary = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("/proc/self/exe") })

// Version returns the version of this image, 0 if it has none.
func Version() int {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		exe, err = os.Open(os.Args[0])
	}
	if err != nil {
		return 0
	}
	defer exe.Close()
	return VersionOf(exe)
}

// VersionOf returns the version of an executable, 0 if it has none.
func VersionOf(exe *os.File) int {
	trailer := make([]byte, TrailerSize)
	if info, err := exe.Stat(); err == nil {
		exe.ReadAt(trailer, info.Size()-int64(TrailerSize))
	}
	version, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(trailer), trailerPrefix)))
	return version
}

// BuiltWith returns the program with another version of this module in its build
// information, which stays as long as it is: what follows there is cut.
func BuiltWith(t testing.TB, program []byte, version string) []byte {
	t.Helper()
	start := bytes.LastIndex(program, []byte("\xff Go buildinf:")) // it is a constant, too
	line := []byte("mod\t" + testprocess.ModulePath + "\t")
	at := bytes.Index(program[max(start, 0):], line)
	if start < 0 || at < 0 {
		t.Fatal("no build information")
	}
	at += start + len(line)
	end := at + bytes.IndexByte(program[at:], '\n')
	more := len(version) + len("\t") - (end - at)
	return slices.Concat(program[:at], []byte(version+"\t\n"), program[end+1+more:])
}
