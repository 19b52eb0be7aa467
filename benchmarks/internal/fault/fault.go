//go:build linux

// Package fault is what is wrong with versions that have a fault, see package trailer.
package fault

import (
	"log"
	"os"
	"syscall"
	"unsafe"

	_ "github.com/autorestart-go/autorestart/benchmarks/internal/hang" // trailer.HangsInInit
	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

// Strike does not return in a version with a fault.
func Strike() {
	switch _, fault := trailer.Read(); fault {
	case "":
		return
	case trailer.Panics:
		panic("this version panics")
	case trailer.PanicsElsewhere:
		go panic("this version panics")
	case trailer.Exits:
		os.Exit(1)
	case trailer.Fatal:
		log.Fatal("this version gives up")
	case trailer.Segfault:
		dieBySegfault()
	}
	select {} // never ready
}

// dieBySegfault ends this process by the default action of SIGSEGV, as a fault in C code does. A
// handler of Go's runtime would exit.
func dieBySegfault() {
	var defaultAction [4]uint64 // struct sigaction, in all architectures at most as long
	const signals = 8           // bytes of a sigset_t
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&defaultAction)), 0, signals, 0, 0)
	syscall.Kill(os.Getpid(), syscall.SIGSEGV)
}
