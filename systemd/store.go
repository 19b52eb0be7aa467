package systemd

import (
	"os"
	"slices"
	"time"

	"github.com/autorestart-go/autorestart/internal/activation"
	"github.com/autorestart-go/autorestart/internal/fdstore"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
	"github.com/autorestart-go/autorestart/internal/step"
)

// The file descriptor store of systemd: what crosses an exec is found after a crash, too.

// logNames are the names under which the log of the store crosses an exec.
var logNames = [...]passing.Name{passing.CarriedName("fdstore-log0"), passing.CarriedName("fdstore-log1")}

// keep has systemd keep what i passes on, and restores what it has kept. Unless the unit has room
// for descriptors, it does nothing, and returns nil.
func keep(i *image.Image, socket *sdnotify.Socket, logger report.Logger) (store *fdstore.Store, err error) {
	names, err := activation.Get().For(os.Getpid())
	limit := storeLimit(listeners(i, names))
	if err != nil && limit > 0 {
		logger.Warn("ignored what systemd has stored", "reason", err)
	}
	own := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !fdstore.IsName(name) })
	defer func() {
		if store == nil {
			fdstore.Remove(socket, own)
		}
	}()
	taken, err := activation.Take(names, fdstore.IsName)
	if err != nil {
		closeAll(taken)
		return nil, err
	}
	if limit == 0 {
		if len(taken) > 0 {
			logger.Warn("closed the files that systemd has stored: there is no room for any in the next start; set FileDescriptorStoreMax, or raise LimitNOFILE", "files", len(taken))
		}
		closeAll(taken)
		return nil, nil
	}
	passed := make([]fdstore.Passed, len(taken))
	for n, f := range taken {
		passed[n] = fdstore.Passed{Name: f.Name, FD: f.FD.Release()}
	}
	c := fdstore.Config{
		Sender: socket, Logger: logger, Limit: limit,
		Set: fdstore.SetOf(os.Getenv("INVOCATION_ID"), time.Now()), Network: fdstore.OwnNetwork(),
	}
	if store, err = open(i, c, passed); err != nil {
		return nil, err
	}
	// The log crosses each exec.
	for n, name := range logNames {
		if err := i.Store.PassDescriptor(name, store.Log()[n].Int()); err != nil {
			store.GiveUp(err)
			return store, err
		}
	}
	i.Store.SetKeeper(store)
	return store, nil
}

// open returns the store of this image: the one of the previous image, or the one from before a crash, whose
// content it restores.
func open(i *image.Image, c fdstore.Config, passed []fdstore.Passed) (*fdstore.Store, error) {
	if log, ok := carriedLog(i); ok {
		return fdstore.Continue(c, log, passed)
	}
	if i.Inherited.Number(handover.PID) != 0 { // what is stored is older than what this image has inherited
		store, err := fdstore.Renew(c, passed)
		if err == nil {
			clearInRollback(i, store)
		}
		return store, err
	}
	store, kept, err := fdstore.Recover(c, passed)
	if err == nil && len(kept.Files)+len(kept.States) > 0 {
		c.Logger.Info("found files and states of the process before this one", "files", len(kept.Files), "states", len(kept.States))
		i.Store.Restore(kept.Files, kept.States)
		i.Store.StartTimer(i.Store.CloseUnclaimed)
	}
	return store, err
}

// clearInRollback leaves nothing in systemd's store for a previous version that keeps nothing there: the
// start after a crash of that version would find what this one has kept.
func clearInRollback(i *image.Image, store *fdstore.Store) {
	i.OnStep(func(kind step.Kind, _ error) {
		if kind == step.RollingBack {
			store.Clear()
		}
	})
}

func closeAll(taken []activation.File) {
	for _, f := range taken {
		f.FD.Close()
	}
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

// carriedLog returns the log that the previous image had.
func carriedLog(i *image.Image) (log fdstore.Log, ok bool) {
	for n, name := range logNames {
		fd, err := i.Store.InheritedDescriptor(name)
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
