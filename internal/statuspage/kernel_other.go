//go:build !linux || autorestart_portable

package statuspage

import (
	"errors"
	"os"
)

// There are no status pages on these systems: no process can open a file that another one has
// open.

func createFile(int64) (*os.File, error)   { return nil, errors.ErrUnsupported }
func checkFile(*os.File) error             { return errors.ErrUnsupported }
func reopen(*os.File)                      {}
func watch(*os.File) (*os.File, error)     { return nil, errors.ErrUnsupported }
func newWatch() (*os.File, error)          { return nil, errors.ErrUnsupported }
func addWatch(_, _ *os.File) (int, error)  { return 0, errors.ErrUnsupported }
func removeWatch(*os.File, int)            {}
func watchesIn([]byte) []int               { return nil }
func openPages(int) ([]*os.File, error)    { return nil, errors.ErrUnsupported }
func isOpenIn(int, *os.File) (bool, error) { return false, errors.ErrUnsupported }
func innermostPID(int) int                 { return 0 }
func lockRequest(*os.File) (int, error)    { return 0, errors.ErrUnsupported }
func unlockRequest(*os.File, int64)        {}
func openProcess(int) (*os.File, error)    { return nil, errors.ErrUnsupported }
func waitForEnd(*os.File) bool             { return false }
