// The least that restarts a program: an inotify loop that executes each new file at
// once. Its descriptor is close-on-exec, as it should be.
package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/integrationtest/testdata/latency/firstline"
)

var version string // makes builds differ

func main() {
	firstline.Report()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		panic(err)
	}
	path := os.Args[0]
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
		panic(err)
	}
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == nil && bytes.Contains(buf[:n], []byte(filepath.Base(path)+"\x00")) {
			syscall.Exec(path, os.Args, os.Environ())
		}
	}
}
