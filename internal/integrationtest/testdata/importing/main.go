//go:build linux

// Command importing prints what a package could have changed by being imported. With the tag
// importing_library it imports all packages of this module.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	fmt.Println("environment", os.Environ())
	dir, err := os.Getwd()
	fmt.Println("directory", dir, err)
	links, err := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err == nil && !strings.HasPrefix(target, "pipe:") { // not of Glob itself, nor of the test
			fmt.Println("descriptor", filepath.Base(link), target)
		}
	}
	fmt.Println("goroutines", runtime.NumGoroutine(), err)
	var limit syscall.Rlimit
	fmt.Println("open files", syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit), limit)
	status, err := os.ReadFile("/proc/thread-self/status") // another thread may be starting one, without signals
	for line := range strings.Lines(string(status)) {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "SigBlk", "SigIgn", "SigCgt", "Umask":
			fmt.Print("status ", line)
		}
	}
	fmt.Println("end", err)
}
