//go:build !autorestart_portable

package autorestart

import (
	"debug/elf"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestJudgeOpenForWriting: complete or not, a file that somebody may still write
// has to wait.
func TestJudgeOpenForWriting(t *testing.T) {
	static := newELF(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	static.interp = ""
	c := writeCandidate(t, static, 0o755)
	if _, err := unix.FcntlInt(c.file.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err == unix.EINVAL {
		t.Skip("no leases on this file system")
	}
	if _, err := unix.FcntlInt(c.file.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND} {
		writer, err := os.OpenFile(c.path, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = c.judge(&rules{})
		if unfit, ok := err.(*RejectedError); !ok || !unfit.Retryable || unfit.Found != "a file open for writing" {
			t.Errorf("open with %#x: %v", flag, err)
		}
		writer.Close()
		// A child that is just being forked may hold the writer a moment longer.
		for deadline := time.Now().Add(10 * time.Second); ; {
			if err = c.judge(&rules{}); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			t.Errorf("closed again: %v", err)
		}
	}
	// Looking leaves no lease behind, on which the next writer would wait.
	if lease, err := unix.FcntlInt(c.file.Fd(), unix.F_GETLEASE, 0); err != nil || lease != unix.F_UNLCK {
		t.Errorf("lease %d, %v", lease, err)
	}
	reader, err := os.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := c.judge(&rules{}); err != nil {
		t.Errorf("open for reading elsewhere: %v", err)
	}
}
