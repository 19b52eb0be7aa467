//go:build linux

package program

import (
	"io"
	"os"

	"github.com/autorestart-go/autorestart"
)

// Versions that do something of their own when they start.
const (
	Panics = 600 + iota
	Returns
	NeverReady
	ChangesEverything // and asks for its rollback

	Subscribes = 700 // and all above: to SIGHUP
)

// misbehave reports whether main is to return.
func misbehave(version int) bool {
	switch version {
	case Panics:
		panic("this version panics")
	case Returns:
		return true
	case NeverReady:
		select {}
	case ChangesEverything:
		os.Chdir("/")
		os.Clearenv()
		os.Args = []string{"other"}
		autorestart.SetState("counter", []byte("spoilt"))
		autorestart.Unpass("pipe")
		autorestart.Rollback(io.ErrUnexpectedEOF)
	}
	if version >= Subscribes {
		autorestart.NotifyOnSighup()
		autorestart.Ready()
	}
	return false
}
