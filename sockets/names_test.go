//go:build unix

package sockets

import (
	"os"
	"slices"
	"testing"

	"github.com/autorestart-go/autorestart"
)

// The names that a program chooses for its files and states have nothing to do with those of
// this package, whatever they are.
func TestNamesOfProgramAreOthers(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	name := l.key.String()
	if names := autorestart.InheritedFiles(); slices.Contains(names, name) {
		t.Errorf("the program sees the listener among its own files: %q", names)
	}
	if f, err := autorestart.Inherited(name); err == nil {
		f.Close()
		t.Error("the program gets the listener by Inherited")
	}
	own, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := autorestart.Pass(name, own); err != nil {
		t.Fatal(err)
	}
	wantPassed(t, l)
	autorestart.Unpass(name)
	wantPassed(t, l)
}

// wantPassed checks that the listener would cross an exec.
func wantPassed(t *testing.T, l *listener) {
	t.Helper()
	f, err := currentRegistry().inheritedFile(l.key)
	if err != nil {
		t.Fatalf("the listener is not passed on: %v", err)
	}
	defer f.Close()
	socket, err := fileListener(f, l.key.network)
	if err != nil {
		t.Fatalf("another file is passed on in place of the listener: %v", err)
	}
	socket.Close()
}
