package systemd

import (
	"os"
	"slices"
	"strconv"
	"strings"
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

// logName returns the name under which a file of the log of a set crosses an exec. It contains the set for an image that
// can't read the log.
func logName(n int, set string) passing.Name {
	return passing.CarriedName("fdstore-log" + strconv.Itoa(n) + "." + set)
}

// keep has systemd keep what i passes on, and restores what it has kept. Unless the unit has room
// for descriptors, it does nothing, and returns nil.
func keep(i *image.Image, socket *sdnotify.Socket, logger report.Logger) (store *fdstore.Store, err error) {
	names, err := activation.Get().For(os.Getpid())
	limit, others := storeLimit(), others(i, names)
	if err != nil && limit > others {
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
	if limit <= others {
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
		Sender: socket, Logger: logger, Limit: limit, Others: others, Announced: own,
		Set: fdstore.SetOf(os.Getenv("INVOCATION_ID"), time.Now()), Network: fdstore.OwnNetwork(),
	}
	if store, err = open(i, c, passed); err != nil {
		return nil, err
	}
	// The log crosses each exec.
	for n, fd := range store.Log() {
		if err := i.Store.PassDescriptor(logName(n, store.Set()), fd.Int()); err != nil {
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
	log, set, ok := carriedLog(i)
	if set != "" {
		c.Set = set
	}
	if ok {
		return fdstore.Continue(c, log, passed)
	}
	if i.Inherited.Number(handover.PID) != 0 { // what is stored is older than what this image has inherited
		store, err := fdstore.Renew(c, passed)
		if err == nil {
			clearInRollback(i, store, c.Logger)
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
func clearInRollback(i *image.Image, store *fdstore.Store, logger report.Logger) {
	i.OnStep(func(kind step.Kind, _ error) {
		switch kind {
		case step.RollingBack:
			store.Clear()
		case step.RollbackFailed:
			logger.Warn("sockets, files and states are not found after a crash: the store was emptied for a rollback, which has failed")
		}
	})
}

func closeAll(taken []activation.File) {
	for _, f := range taken {
		f.FD.Close()
	}
}

// others returns how many descriptors systemd passes to a start besides those of this library: the listeners of socket
// units, and the descriptors that the program stores by itself. All of them count, because systemd does not say which it
// has stored. Those that no part of the program has taken yet are announced. The listeners that package sockets has taken
// cross each exec.
func others(i *image.Image, announced []string) int {
	n := i.Store.Activated()
	for at, name := range announced {
		if !fdstore.IsName(name) && !activation.IsPlaceholder(activation.FirstDescriptor+at) {
			n++
		}
	}
	return n
}

// carriedLog returns the log that the previous image had, and its set, also if a file of the log is missing.
func carriedLog(i *image.Image) (log fdstore.Log, set string, ok bool) {
	for _, name := range i.Store.Names() {
		for n := range log {
			if of, found := strings.CutPrefix(string(name), string(logName(n, ""))); found {
				set = of
			}
		}
	}
	for n := range log {
		fd, err := i.Store.InheritedDescriptor(logName(n, set))
		if err != nil {
			if n > 0 {
				log[0].Close()
			}
			return fdstore.Log{}, set, false
		}
		log[n] = fd
	}
	return log, set, true
}
