package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func isTerminal(w io.Writer) bool { return terminalWidth(w) > 0 }

// terminalWidth returns the number of columns of a terminal; 0 for anything else.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
		if size.Col == 0 {
			return 80
		}
		return int(size.Col)
	}
	return 0
}
