package handover

import (
	"github.com/autorestart-go/autorestart/internal/rawsys"
)

// tainted: a previous image of this process was Secure.
var tainted bool

// Tainted reports whether the environment and the working directory of this process may
// be those of a starter with fewer rights. A set-user-ID program that becomes its user
// altogether is not Secure after its next exec, but has the environment of its starter.
func Tainted() bool { return Secure || tainted }

func (s *State) addTaint() {
	if Tainted() {
		s.Set(Taint, 1)
	}
}

func (s *State) takeTaint() { tainted = tainted || s.Number(Taint) != 0 }

// unsafeVariables have a dynamically linked program execute other code, or change how the
// C library works. It removes them from the environment of a secure program, see ld.so(8);
// a statically linked program leaves them there.
var unsafeVariables = [...]string{"GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH"}

// unsafePrefixes begin further names.
var unsafePrefixes = [...]string{"LD_", "MALLOC_"}

// nextEnvironment returns env for the next image, with more variables. It leaves out what a
// program may have put there in the place of ours, and in a tainted process what the next image,
// which may not be secure, must not believe.
func nextEnvironment(env []string, more ...string) []string {
	kept := make([]string, 0, len(env)+len(more))
	for _, variable := range env {
		name, _, _ := rawsys.Cut(variable, '=')
		if name != Env && !(Tainted() && isUnsafe(name)) {
			kept = append(kept, variable)
		}
	}
	return append(kept, more...)
}

func isUnsafe(name string) bool {
	for _, prefix := range unsafePrefixes {
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			return true
		}
	}
	for _, unsafe := range unsafeVariables {
		if name == unsafe {
			return true
		}
	}
	return false
}
