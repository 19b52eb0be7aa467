// Package rawsys has the little that internal/execve and internal/handover need of packages os,
// strings and internal/sys: they are initialised before those.
//
// It makes system calls with package syscall alone. With golang.org/x/sys on Linux, it would
// wait for the initialisation of that package, and of all packages before it in the alphabet.
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
