//go:build linux

package daemontest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
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
	trailer := make([]byte, TrailerSize)
	if info, err := exe.Stat(); err == nil {
		exe.ReadAt(trailer, info.Size()-int64(TrailerSize))
	}
	version, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(trailer), trailerPrefix)))
	return version
}
