//go:build !linux || autorestart_portable

package main

import (
	"strings"
	"testing"
)

func TestCheckNeedsLinux(t *testing.T) {
	exit, stdout, stderr := runCommand(t, "check", "next", "app")
	if exit != exitUnable || stdout != "" || !strings.Contains(stderr, "only on Linux") {
		t.Errorf("exit %d, %q, %q", exit, stdout, stderr)
	}
}
