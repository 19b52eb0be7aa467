package origin_test

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/autorestart-go/autorestart/internal/origin"
)

// TestArgsAreCopies: the bytes of os.Args are not safe.
func TestArgsAreCopies(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("package os makes the arguments itself")
	}
	if !slices.Equal(origin.Args, os.Args) {
		t.Fatalf("%q, want %q", origin.Args, os.Args)
	}
	for i := range origin.Args {
		if unsafe.StringData(origin.Args[i]) == unsafe.StringData(os.Args[i]) {
			t.Errorf("argument %d is not a copy", i)
		}
	}
}

func TestDeepCopy(t *testing.T) {
	for _, want := range [][]string{nil, {""}, {"", "a", "", "\xff\xfe=\x01", "b c", ""}} {
		if got := origin.DeepCopy(slices.Clone(want)); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
