// Package autorestart restarts a daemon in place as soon as a new version of its
// executable is on disk, and cleans up the child processes that this leaves
// behind.
//
//	func main() {
//		go autorestart.RestartOnChange()
//		autorestart.CleanUpChildZombies()
//		...
//	}
//
// A restart is an execve(2): PID, standard streams and resource limits stay, and
// no supervisor needs to know. The arguments are those that the program was
// started with, environment and working directory those that it has by then. What
// the program holds in memory is gone, and so are descriptors that are
// close-on-exec, as all are that Go opens, unless they are handed over.
//
// # What counts as a new version
//
// Events only say when to look. A restart happens when the file that the path
// leads to differs in content from the image that runs, and is ready: a regular
// file, complete by its ELF headers, for this machine, executable, open for
// writing nowhere that can be told. Touching the executable or copying the same
// bytes over it restarts nothing; a file that is half written or broken is never
// executed.
//
// # What is handed over
//
// Packages [github.com/autorestart-go/autorestart/sockets] and
// [github.com/autorestart-go/autorestart/httpserve] keep sockets open and drain
// servers, so that no client notices a restart. [Pass] hands on any other open
// file, [SetState] a few bytes, [RegisterDrainer] brings to rest what else takes on
// work. A new version tells by [Ready] that it has what it needs.
//
// With [Restarter.ReadyTimeout] it is on probation until then: should it fail, the
// version before is executed again, with everything that was handed over.
//
// # Choosing an interface
//
// The seven functions need no set-up; they have the names and signatures of
// github.com/tillberg/autorestart, and log to standard error where that one
// does. [Restarter], [Watcher] and [Reaper] are what they are made of, for
// programs that want a context, errors, a logger of their own or a say in when
// to restart; these are silent unless told otherwise.
//
// # Systems
//
// On Linux changes are noticed by inotify(7) in every directory that the path
// passes through; without inotify, and on other Unix systems, the path is looked
// at once a second. Systems without an exec can watch, not restart.
package autorestart

import (
	"os"
	"syscall"
	"time"
)

// RestartOnChange watches this program's executable and executes the new version
// as soon as it is ready: same PID, arguments, environment and working
// directory. It blocks and does not return. What it does is logged to standard
// error.
func RestartOnChange() {
	logger := newStderrLogger()
	r := Restarter{Logger: logger}
	err := r.run(nil, hooks{})
	logger.Error("watching ended", "reason", err)
	blockForever()
}

// NotifyOnChange returns a channel that receives true for each new version of
// this program's executable. They don't pile up: a receiver that is late finds
// one. The program goes on running; call [RestartViaExec] to restart it.
//
// With usePolling the path is looked at once a second beside the events. Where
// events can't be had that is done anyway, and logged to standard error.
func NotifyOnChange(usePolling bool) chan bool {
	logger := newStderrLogger()
	w := &Watcher{Logger: logger}
	if usePolling {
		w.PollInterval = defaultPollInterval
	}
	changes := make(chan bool, 1)
	go func() {
		for {
			if _, err := w.next(nil); err != nil {
				logger.Error("watching ended", "reason", err)
				return
			}
			select {
			case changes <- true:
			default: // one is pending, and tells this receiver the same
			}
		}
	}()
	return changes
}

// RestartViaExec executes the file that is at the path of this program's
// executable, new version or not: same PID, arguments, environment and working
// directory. It does not return. As long as the exec fails the program goes on
// running, the reason is logged to standard error whenever it changes, and the
// exec is tried again.
func RestartViaExec() {
	logger := newStderrLogger()
	r := Restarter{Logger: logger}
	retry := newRetry()
	var refusals refusalLog
	for {
		refusals.final(logger, r.restart(nil, hooks{}))
		time.Sleep(retry.next())
	}
}

// CleanUpChildZombies reaps the children that this process had before its present
// image was executed, as a restart leaves them behind. It lists them before it
// returns, and goes on in the background. Zombies disappear at once. A child that is
// still alive gets SIGHUP after five seconds, SIGINT two minutes later and SIGTERM
// one minute after that, and disappears when it ends. The reaping is logged to
// standard error.
//
// Children that this image has started itself are not touched, whether they were
// started before the call or after it. A second call finds nothing left to do. See
// [Reaper] for other schedules, reports, and a way to stop it.
func CleanUpChildZombies() {
	r := Reaper{Logger: newStderrLogger()}
	r.reapInBackground()
}

// CleanUpChildZombiesQuietly is [CleanUpChildZombies] without the logging.
func CleanUpChildZombiesQuietly() { new(Reaper).reapInBackground() }

// NotifyOnSighup returns a channel that receives SIGHUP. A signal that comes
// while one is waiting to be received is dropped. See [Notify] for what happens
// to it during a restart.
func NotifyOnSighup() chan os.Signal {
	return notifyOn(syscall.SIGHUP)
}

// NotifyOnSigterm is [NotifyOnSighup] for SIGTERM.
func NotifyOnSigterm() chan os.Signal {
	return notifyOn(syscall.SIGTERM)
}

func notifyOn(sig os.Signal) chan os.Signal {
	signals := make(chan os.Signal, 1)
	Notify(signals, sig)
	return signals
}

// blockForever is not select{}, which the runtime takes for a deadlock in a
// program that has nothing else to do.
func blockForever() {
	for {
		time.Sleep(time.Hour)
	}
}
