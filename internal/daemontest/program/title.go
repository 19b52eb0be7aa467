//go:build linux

package program

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"
)

// titles are the commands that give the process a title, which ps(1) shows.
var titles = map[string]func(argument string) string{
	// title TEXT overwrites the memory of the arguments, as setproctitle(3) does.
	"title": func(text string) string { return setTitle(text, argStart, argEnd) },
	// long-title TEXT overwrites that of the environment, too, as for a title that needs it.
	"long-title": func(text string) string { return setTitle(text, argStart, envEnd) },
}

// Fields of /proc/PID/stat after the name of the process, see proc(5).
const (
	argStart = 48 - 3
	argEnd   = 49 - 3
	envEnd   = 51 - 3
)

// setTitle writes text, and NULs after it, from one address to another.
func setTitle(text string, from, to int) string {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err.Error()
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var start, end uintptr
	for field, address := range map[int]*uintptr{from: &start, to: &end} {
		if _, err := fmt.Sscan(string(fields[field]), address); err != nil {
			return err.Error()
		}
	}
	first := unsafe.StringData(os.Args[0])
	if unsafe.Pointer(first) != *(*unsafe.Pointer)(unsafe.Pointer(&start)) {
		return "the arguments are elsewhere"
	}
	memory := unsafe.Slice(first, end-start)
	clear(memory)
	copy(memory, text)
	return ""
}
