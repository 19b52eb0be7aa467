// Package origin keeps what this image was started with, before anything changes it.
//
// Packages are initialised in the order of their paths, each after its imports. This one
// imports nothing that has to be initialised, so it comes before package syscall.
package origin

import _ "unsafe" // for go:linkname

// Args are the arguments, the name of the program included. They are copies: the strings of
// [os.Args] lead to the memory where the kernel has put them, and setproctitle(3) and its like
// write a title there.
var Args = deepCopy(runtimeArgs())

// deepCopy copies the bytes of the strings. It reuses the slice.
func deepCopy(strings []string) []string {
	var all []byte
	for _, s := range strings {
		all = append(all, s...)
	}
	rest := string(all)
	for i, s := range strings {
		strings[i], rest = rest[:len(s)], rest[len(s):]
	}
	return strings
}

// runtimeArgs is what package os has its arguments from. It returns a slice of its own.
//
//go:linkname runtimeArgs os.runtime_args
func runtimeArgs() []string
