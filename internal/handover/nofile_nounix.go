//go:build !unix

package handover

import "syscall"

func (s *State) addLimit() {}

func (s *State) keepLimit() {}

// execute fails: there is no exec.
func execute(path string, args, env []string) error { return syscall.Exec(path, args, env) }
