//go:build !autorestart_portable

package handover

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The helper hands over with the longest environment that CheckSize accepts.
var _ = testprocess.RegisterHelper("no room", func() {
	if Inherited.Number(PID) != 0 {
		fmt.Print("executed")
		return
	}
	exe, err := os.Open(os.Args[0])
	if err != nil {
		panic(err)
	}
	defer exe.Close()
	const path = "/a" // shorter than that of a descriptor
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "FILL") })
	const part, margin = 100 << 10, 1000
	for CheckSize(path, os.Args, append(env, "FILL="+strings.Repeat("x", part+margin))) == nil {
		env = append(env, "FILL="+strings.Repeat("x", part))
	}
	size := sort.Search(part+margin, func(size int) bool {
		return CheckSize(path, os.Args, append(env, "FILL="+strings.Repeat("x", size))) != nil
	})
	s := of(map[NumberKind][]int{PID: {os.Getpid()}, Generation: {1_000_000}}, nil)
	fmt.Print(Execute(Target{Path: path, FD: int(exe.Fd())}, os.Args, append(env, "FILL="+strings.Repeat("x", size-1)), &s))
})

// TestCheckSizeLeavesRoom: an exec that CheckSize accepts does not fail for want of room when
// everything has been drained.
func TestCheckSizeLeavesRoom(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "no room"))
	if output, err := cmd.CombinedOutput(); err != nil || string(output) != "executed" {
		t.Errorf("%q, %v", output, err)
	}
}
