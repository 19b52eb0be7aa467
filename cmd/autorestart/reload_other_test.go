//go:build !linux || autorestart_portable

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestReloadNeedsLinux(t *testing.T) {
	exit, stdout, stderr := runCommand(t, "reload", fmt.Sprint(os.Getpid()))
	if exit != exitUnable || stdout != "" || !strings.Contains(stderr, "status pages need Linux") {
		t.Errorf("exit %d, %q, %q", exit, stdout, stderr)
	}
}
