// The least that follows a directory: a loop that reads its events and does
// nothing about them. The mask is the one that the library's watch has.
package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	mask, err := strconv.ParseUint(os.Args[2], 16, 32)
	if err != nil {
		panic(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		panic(err)
	}
	if _, err := unix.InotifyAddWatch(fd, os.Args[1], uint32(mask)); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("reading\n")
	events := os.NewFile(uintptr(fd), "inotify")
	for buf := make([]byte, 16<<10); ; {
		if _, err := events.Read(buf); err != nil {
			panic(err)
		}
	}
}
