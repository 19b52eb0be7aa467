// Package autorestart restarts a daemon in place as soon as a new version of its
// executable is on disk. It also cleans up the child processes that a restart leaves
// behind.
//
//	func main() {
//		go autorestart.RestartOnChange()
//		autorestart.CleanUpChildZombies()
//		serve()
//	}
//
// A restart is an execve(2). The PID, the standard streams and the resource limits stay,
// and no supervisor needs to know. The new version gets the arguments that the program
// was started with, and its current environment and working directory.
//
// The memory of the program is lost. Open descriptors are lost, too, because Go opens
// them close-on-exec. Descriptors that the program passes on stay open. Children live on.
// A child with a Pdeathsig ([syscall.SysProcAttr] on Linux) gets that signal if the exec
// ends the thread that has started it.
//
// A program may write a title over its arguments, as setproctitle(3) does. The new
// version gets the original arguments.
//
// Go raises the soft limit of open files when a program starts, and starts children with
// the original limit. On Linux, a limit that is set later, by the program or by another
// process with prlimit(2), stays in force for the new version and its children.
//
// Linux keeps namespaces, user, capabilities, seccomp filters and scheduling for each
// thread. The new version gets those of the main thread. A program should enter
// namespaces and give up rights on the main thread or on all threads, before it watches.
//
// # What counts as a new version
//
// A restart happens when the file at the path differs in content from the running image
// and is ready. A file is ready if it is a regular file, complete by its ELF headers, for
// this machine, executable, and not known to be open for writing. Events only say when to
// look.
//
// Touching the executable or copying the same bytes over it restarts nothing. Files of
// more than 1 GiB are not compared: any change of such a file counts as a new version.
//
// A file is not executed if its headers show that it is incomplete or broken. The headers
// do not show all damage; [Restarter.Verify] can check more.
//
// # What crosses the exec
//
// Packages [github.com/autorestart-go/autorestart/sockets] and
// [github.com/autorestart-go/autorestart/httpserve] keep sockets open and drain servers,
// so that a restart refuses no client and loses no request. [Pass] passes any other open
// file on, and [SetState] passes a few bytes on. [RegisterDrainer] drains other parts of
// the program that accept work. A new version calls [Ready] when it has claimed what it
// needs.
//
// Sockets, files and states cross only to a version that contains this library. Setuid
// and setgid programs hand nothing over.
//
// With [Restarter.ReadyTimeout] a new version is on trial until it calls Ready. If it
// fails on trial, it is rolled back: the previous version is executed again, and gets all
// that was passed on. [Restarter.HealthTimeout] makes the trial longer.
//
// # Two versions side by side
//
// In a restart, clients wait until the running requests are finished and the new version
// has started. With [Restarter.Overlap] they don't wait: the new version first starts in
// a child process, its stand-in, and serves there meanwhile. Then the stand-in exits, and
// the new version has the PID of the old one. A program calls [StandIn] to leave to the
// main process what only one process may do. docs/overlap.md, in the repository, has the
// sequence, and says which programs can't use it.
//
// # Choosing an interface
//
// Seven functions need no set-up. They have the names and signatures of
// github.com/tillberg/autorestart, and log to standard error where that package does.
// [RestartOnChange] and [CleanUpChildZombies] are enough for many programs.
// [NotifyOnChange], [RestartViaExec], [CleanUpChildZombiesQuietly], [NotifyOnSighup] and
// [NotifyOnSigterm] are kept for programs that used that package; each says what other
// programs use.
//
// [Restarter], [Watcher], [Reaper] and [Orphans] are for programs that want a context,
// errors, a logger of their own, or hooks on the way to the exec. They are silent without
// a logger.
//
// # Importing the package
//
// In a program that was started afresh, importing the package changes nothing: it opens
// no descriptor, starts no goroutine, and touches no signal and no variable of the
// environment. It reads how the program was started: arguments, path, executable,
// children, ignored signals and the limit of open files.
//
// In a version that an earlier version has executed, the package takes over the files,
// states and signals of that version, before main. It removes AUTORESTART_HANDOVER from
// the environment, makes passed descriptors close-on-exec, and starts a timer. In a
// version on trial, the timer rolls the version back when the ReadyTimeout is over. In
// any other version, the timer closes unclaimed files and restores inherited signals
// after one minute, see [Ready]. In a stand-in, the package ends the process when its main
// process ends.
//
// The package also removes a variable AUTORESTART_HANDOVER that is meant for another
// process. The first [Logger] of a Restarter gets a line about that.
//
// # Systems
//
// On Linux, changes are noticed by inotify(7) in every directory that the path passes
// through. Without inotify, and on other Unix systems, the path is polled once a second.
// Systems without an exec can watch, but not restart.
//
// docs/minimal-systems.md, in the repository, says what the library does on old kernels,
// without /proc, and under emulators.
package autorestart

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/watch"
)

// RestartOnChange watches this program's executable and executes each new version as soon
// as it is ready, with the same PID, arguments, environment and working directory. It
// logs to standard error. It does not return. [Restarter.Run] does the same with options,
// a context and an error.
func RestartOnChange() {
	logger := newStderrLogger()
	r := Restarter{Logger: logger}
	err := r.run(context.Background(), features{observe: withoutObserve, overlap: withoutOverlap, gate: withoutGate})
	logger.Error("stopped watching: new versions will not be noticed", "reason", err)
	blockForever()
}

// NotifyOnChange returns a channel that receives true for each new version of this
// program's executable. The channel holds one value; further changes are merged into it.
// The program goes on running, and calls [RestartViaExec] to restart.
//
// If usePolling is true, the path is polled once a second in addition to the events.
// Without events the path is polled in any case, and that is logged to standard error.
//
// NotifyOnChange is kept for programs that used github.com/tillberg/autorestart. Other
// programs use a [Watcher], which can be stopped and says which version it has found.
func NotifyOnChange(usePolling bool) chan bool {
	logger := newStderrLogger()
	w := &Watcher{Logger: logger}
	if usePolling {
		w.PollInterval = watch.DefaultPollInterval
	}
	changes := make(chan bool, 1)
	go func() {
		for {
			if _, err := w.Next(context.Background()); err != nil {
				logger.Error("stopped watching: new versions will not be noticed", "reason", err)
				return
			}
			select {
			case changes <- true:
			default: // the receiver has not taken the last one, which says the same
			}
		}
	}()
	return changes
}

// RestartViaExec executes the file at the path of this program's executable, also if it
// is not a new version, with the same PID, arguments, environment and working directory.
// It does not return. While the exec fails, the program goes on running, and the exec is
// tried again. The reason is logged to standard error whenever it changes.
//
// In a program with drainers the restart waits for HTTP handlers. In a handler of such a
// program RestartViaExec returns, so that the handler can answer its client, and restarts
// in the background.
//
// RestartViaExec is kept for programs that used github.com/tillberg/autorestart. Other
// programs use [Restarter.Restart], which has a context and returns errors.
func RestartViaExec() {
	logger := newStderrLogger()
	if !calledByHandler() {
		restartViaExec(logger)
	}
	logger.Info("restarting in the background: RestartViaExec was called by an HTTP handler, for which the restart waits")
	self().inBackground.Do(func() { go restartViaExec(logger) })
}

// restartViaExec does not return.
func restartViaExec(logger Logger) {
	r := Restarter{Logger: logger}
	retry := watch.NewRetry()
	rejections := watch.RejectionLog{Logger: logger}
	for {
		rejections.Rejected(r.restart(context.Background(), features{observe: withoutObserve, overlap: withoutOverlap, gate: withoutGate}))
		time.Sleep(retry.Next())
	}
}

// CleanUpChildZombies reaps the children that this process had before its present image
// was executed: the children that a restart leaves behind. It lists them before it
// returns, and reaps them in the background. The reaping is logged to standard error.
//
// A zombie disappears at once. A child that is still alive gets SIGHUP after five
// seconds, SIGINT two minutes later and SIGTERM one minute after that. It disappears when
// it ends.
//
// Children that this image has started itself are not touched, whether they were started
// before the call or after it. A second call finds nothing left to do. [Reaper] has other
// schedules, reports, and a way to stop.
func CleanUpChildZombies() {
	r := Reaper{Logger: newStderrLogger()}
	r.reapInBackground()
}

// CleanUpChildZombiesQuietly is [CleanUpChildZombies] without the logging.
//
// CleanUpChildZombiesQuietly is kept for programs that used
// github.com/tillberg/autorestart. Other programs use a [Reaper] without a Logger.
func CleanUpChildZombiesQuietly() { new(Reaper).reapInBackground() }

// NotifyOnSighup returns a channel that receives SIGHUP. The channel holds one signal; a
// signal that arrives while it is full is dropped. [Notify] describes what happens to
// signals during a restart. [StopNotify] ends the subscription.
//
// NotifyOnSighup is kept for programs that used github.com/tillberg/autorestart. Other
// programs call [Notify] with a channel of their own.
func NotifyOnSighup() chan os.Signal {
	return notifyOn(syscall.SIGHUP)
}

// NotifyOnSigterm is [NotifyOnSighup] for SIGTERM.
//
// NotifyOnSigterm is kept for programs that used github.com/tillberg/autorestart. Other
// programs call [Notify] with a channel of their own.
func NotifyOnSigterm() chan os.Signal {
	return notifyOn(syscall.SIGTERM)
}

func notifyOn(sig os.Signal) chan os.Signal {
	signals := make(chan os.Signal, 1)
	Notify(signals, sig)
	return signals
}

// blockForever is not select{}, which the runtime takes for a deadlock if the program
// has no other goroutine.
func blockForever() {
	for {
		time.Sleep(time.Hour)
	}
}
