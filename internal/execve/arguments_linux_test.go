//go:build !autorestart_portable

package execve

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestCheckSizeAgreesWithTheKernel: for lengths around each of the limits.
func TestCheckSizeAgreesWithTheKernel(t *testing.T) {
	const path = "/bin/true"
	var stack syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_STACK, &stack); err != nil {
		t.Fatal(err)
	}
	l := linuxLimit(uint64(stack.Cur), os.Getpagesize())
	for _, test := range []struct {
		what string
		make func(excess int) (args, env []string)
	}{
		{"argument", func(excess int) (args, env []string) {
			return []string{path, strings.Repeat("x", l.one-1+excess)}, nil
		}},
		{"variable", func(excess int) (args, env []string) {
			return []string{path}, []string{"A=" + strings.Repeat("x", l.one-3+excess)}
		}},
		{"all", func(excess int) (args, env []string) {
			const part, pointer = 100 << 10, 8
			left := l.all - len(path) - 1 + excess
			add := func(s string) string {
				left -= len(s) + 1 + pointer
				return s
			}
			args = []string{add(path)}
			for left > part+1000 {
				name := "A" + strconv.Itoa(len(env)) + "=" // package os/exec removes duplicates
				env = append(env, add(name+strings.Repeat("x", part)))
			}
			return args, append(env, add("B="+strings.Repeat("x", left-1-pointer-2)))
		}},
	} {
		for excess := -1; excess <= 1; excess++ {
			args, env := test.make(excess)
			err := l.check(path, args, env)
			cmd := exec.Cmd{Path: path, Args: args, Env: env}
			if env == nil {
				cmd.Env = []string{}
			}
			ran := cmd.Run()
			if wrong := errors.Is(err, syscall.E2BIG); wrong != (excess > 0) || wrong != errors.Is(ran, syscall.E2BIG) {
				t.Errorf("%s, %d bytes over the limit: %v; the kernel says %v", test.what, excess, err, ran)
			}
		}
	}
}
