// Package rawsys replaces what internal/execve and internal/handover would need of the
// packages os, strings and internal/sys. Those packages are initialised too late for
// them.
//
// It makes system calls with package syscall alone. If it imported golang.org/x/sys on
// Linux, it would be initialised after that package, and after all packages before that
// in the alphabet.
package rawsys

// Cut is [strings.Cut] for a separator of one byte.
func Cut(s string, separator byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == separator {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
