package systemd

import (
	"os"

	"github.com/autorestart-go/autorestart/internal/activation"
	"github.com/autorestart-go/autorestart/internal/fdstore"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
)

// The file descriptor store of systemd: what crosses an exec is found after a crash, too.

// logNames are the names under which the log of the store crosses an exec.
var logNames = [...]passing.Name{passing.CarriedName("fdstore-log0"), passing.CarriedName("fdstore-log1")}

// keep has systemd keep what i passes on, and restores what it has kept. Unless the unit has room
// for descriptors, it does nothing, and returns nil.
func keep(i *image.Image, socket *sdnotify.Socket, logger report.Logger) (*fdstore.Store, error) {
	names, err := activation.Get().For(os.Getpid())
	limit := storeLimit(listeners(i, names))
	if err != nil && limit > 0 {
		logger.Warn("ignored what systemd has stored", "reason", err)
	}
	taken, err := activation.Take(names, fdstore.IsName)
	if err != nil {
		for _, f := range taken {
			f.FD.Close()
		}
		return nil, err
	}
	if limit == 0 {
		closeTaken(taken, logger)
		return nil, nil
	}
	passed := make([]fdstore.Passed, len(taken))
	for n, f := range taken {
		passed[n] = fdstore.Passed{Name: f.Name, FD: f.FD.Release()}
	}
	c := fdstore.Config{Sender: socket, Logger: logger, Limit: limit}
	if log, ok := carriedLog(i); ok {
		store, err := fdstore.Continue(c, log, passed)
		if err != nil {
			return nil, err
		}
		return store, keepIn(i, store)
	}
	store, kept, err := fdstore.Recover(c, passed)
	if err != nil {
		return nil, err
	}
	if len(kept.Files)+len(kept.States) > 0 {
		logger.Info("found files and states of the process before this one", "files", len(kept.Files), "states", len(kept.States))
		i.Store.Restore(kept.Files, kept.States)
		i.Store.StartTimer(i.Store.CloseUnclaimed)
	}
	return store, keepIn(i, store)
}

// listeners returns how many listeners of socket units systemd passes to this process: those that a part of
// the program has still to take, and those that have crossed an exec.
func listeners(i *image.Image, announced []string) int {
	n := i.Store.Activated()
	for at, name := range announced {
		if !fdstore.IsName(name) && !activation.IsPlaceholder(activation.FirstDescriptor+at) {
			n++
		}
	}
	return n
}

// closeTaken closes the files of a unit that has no room for any now.
func closeTaken(taken []activation.File, logger report.Logger) {
	if len(taken) > 0 {
		logger.Warn("closed the files that systemd has stored: there is no room for any in the next start; set FileDescriptorStoreMax, or raise LimitNOFILE", "files", len(taken))
	}
	for _, f := range taken {
		f.FD.Close()
	}
}

// keepIn has the store keep what i passes on. Its log crosses each exec.
func keepIn(i *image.Image, store *fdstore.Store) error {
	for n, name := range logNames {
		if err := i.Store.Carry(name, store.Log()[n].Int()); err != nil {
			return err
		}
	}
	i.Store.SetKeeper(store)
	return nil
}

// carriedLog returns the log that the previous image had.
func carriedLog(i *image.Image) (log fdstore.Log, ok bool) {
	for n, name := range logNames {
		fd, err := i.Store.Carried(name)
		if err != nil {
			if n > 0 {
				log[0].Close()
			}
			return fdstore.Log{}, false
		}
		log[n] = fd
	}
	return log, true
}
