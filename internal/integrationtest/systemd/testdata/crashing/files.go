package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart"
)

// The files of a program that passes some on: one in memory, and both ends of a pipe, in which something waits. Both
// contain when they were made.

const size = 19 // of the contents

// passFiles returns a handler that writes what is in the files.
func passFiles() http.HandlerFunc {
	memory, read, write := open()
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var note, piped [size]byte
		must(memory.ReadAt(note[:], 0))
		must(io.ReadFull(read, piped[:]))
		must(write.Write(piped[:]))
		fmt.Fprintf(w, "%s %s", note, piped)
	}
}

// open returns the files of the program before, or new ones.
func open() (memory, read, write *os.File) {
	if memory, err := autorestart.Inherited("memory"); err == nil {
		return memory, must(autorestart.Inherited("read")), must(autorestart.Inherited("write"))
	}
	made := strconv.FormatInt(time.Now().UnixNano(), 10)
	memory = os.NewFile(uintptr(must(unix.MemfdCreate("note", unix.MFD_CLOEXEC))), "note")
	must(memory.WriteString(made))
	read, write, err := os.Pipe()
	must(read, err)
	must(write.WriteString(made))
	for name, f := range map[string]*os.File{"memory": memory, "read": read, "write": write} {
		must(f, autorestart.Pass(name, f))
	}
	return memory, read, write
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
