// The loop of ../bare, with a descriptor that crosses the exec, so that the exec does
// not wait until the kernel has taken the watch down. Nothing can be faster.
package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/integrationtest/testdata/latency/firstline"
)

var version string // makes builds differ

const keptFD = "KEPT_FD"

func main() {
	firstline.Report()
	path := os.Args[0]
	fd, err := strconv.Atoi(os.Getenv(keptFD))
	if err != nil {
		if fd, err = unix.InotifyInit1(0); err != nil {
			panic(err)
		}
		os.Setenv(keptFD, strconv.Itoa(fd))
		if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
			panic(err)
		}
	}
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == nil && bytes.Contains(buf[:n], []byte(filepath.Base(path)+"\x00")) {
			syscall.Exec(path, os.Args, os.Environ())
		}
	}
}
