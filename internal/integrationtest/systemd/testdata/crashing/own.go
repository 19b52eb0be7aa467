package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A program that has systemd store a file by itself, beside what the library stores.

// ownFile returns a handler that writes what the stored file contains. The first process of the unit has it stored.
func ownFile() http.HandlerFunc {
	const first = 3
	at := slices.Index(strings.Split(os.Getenv("LISTEN_FDNAMES"), ":"), "own")
	if at < 0 {
		storeOwn()
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		if at < 0 {
			fmt.Fprint(w, "stored")
			return
		}
		content := make([]byte, 100)
		n := must(unix.Pread(first+at, content, 0))
		w.Write(content[:n])
	}
}

func storeOwn() {
	fd := must(unix.MemfdCreate("own", unix.MFD_CLOEXEC))
	defer unix.Close(fd)
	must(unix.Pwrite(fd, []byte("a file of the program"), 0))
	socket := must(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(socket)
	systemd := &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	must(0, unix.Sendmsg(socket, []byte("FDSTORE=1\nFDNAME=own"), unix.UnixRights(fd), systemd, 0))
}
