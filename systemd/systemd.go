// Package systemd notifies systemd of restarts, in the protocol of sd_notify(3). With it,
// `systemctl reload` and units of Type=notify and Type=notify-reload wait for the new version,
// `systemctl status` shows which version serves, and the watchdog of a unit keeps running through
// restarts.
//
// Start a [Service] at the top of main, and call [autorestart.Ready] in every version:
//
//	func main() {
//		restarter := &autorestart.Restarter{ReadyTimeout: 10 * time.Second, Logger: slog.Default()}
//		service := systemd.Service{Restarter: restarter, Logger: slog.Default()}
//		if err := service.Start(); err != nil {
//			slog.Warn("systemd is not notified", "reason", err)
//		}
//		// Open what the program needs, and serve.
//		autorestart.Ready()
//		restarter.Run(context.Background())
//	}
//
// # Messages
//
// The program sends
//   - READY=1 and STATUS when it is ready. After a restart or a rollback, RELOADING=1 and
//     MONOTONIC_USEC come in the same message.
//   - RELOADING=1 and MONOTONIC_USEC when a drain begins. If the restart is called off, READY=1
//     follows with the reason in STATUS. Otherwise it follows from the next version.
//   - RELOADING=1, MONOTONIC_USEC, READY=1 and STATUS, in one message, when a version is rejected
//     before the program was drained for it.
//   - EXTEND_TIMEOUT_USEC at the beginning of a drain, every 5 s during the drain, and before the
//     exec. It also extends the watchdog.
//   - WATCHDOG=1 if the unit has WatchdogSec, see [Service.Check].
//   - STOPPING=1 when it calls [Service.Stopping]. After that it sends WATCHDOG=1 alone.
//
// STATUS says which version serves, and why the last one was rejected or rolled back. A restart
// sends neither STOPPING=1 nor MAINPID, because it changes neither the process nor its PID. Only the
// main process sends, so NotifyAccess=main is enough.
//
// No message says to systemd that a reload has failed. `autorestart reload $MAINPID` as ExecReload
// does. See docs/systemd.md, in the repository, for units to copy.
//
// # Reload
//
// With [Service.Restarter], `autorestart reload PID` restarts the program and waits for the outcome. It exits
// with 0 when the new version is ready, and with 1 if the version was rejected or rolled back. In
// ExecReload of a unit it makes `systemctl reload` fail in that case. The command is
// github.com/autorestart-go/autorestart/cmd/autorestart.
//
// # After a crash
//
// If the unit has FileDescriptorStoreMax, systemd keeps copies of the listeners and packet sockets of package
// sockets, of the files of [autorestart.Pass], and of the states of [autorestart.SetState]. When the
// process has ended by a signal, a panic or [os.Exit], and when systemd restarts the unit, the next process
// finds them by the calls that find them after a restart: sockets.Listen, [autorestart.Inherited]
// and [autorestart.State]. Clients that connect meanwhile wait in the queue of the kernel. Accepted
// connections are lost.
//
// Either everything is found or nothing. [autorestart.Ready] removes from the store what the program has not
// claimed. The store needs systemd 254, and counts against RLIMIT_NOFILE. The states count as memory of
// the unit, and those of package httpserve have the keys of TLS session tickets.
//
// # The notify socket
//
// Sending never blocks. If systemd does not read its socket, the messages wait and become one:
// the last one counts. If the socket is missing or closed, they wait for the next message. A log
// line says so. Messages that wait at an exec are lost, and the first message of the next version says
// everything that counts.
package systemd

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/activation"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
	"github.com/autorestart-go/autorestart/internal/sdnotify"
)

// A Service is this process as a service of systemd. Set the fields before Start.
type Service struct {
	// Restarter restarts the program when `autorestart reload PID` asks for it, by its Restart. That
	// command is for ExecReload in the unit. It waits until the new version is ready, and healthy where a
	// HealthTimeout is set, and fails if the version was rejected or rolled back. If Restarter is nil,
	// the command fails. Run may be called on the same Restarter.
	Restarter *autorestart.Restarter

	// Check says whether the program works. While it returns nil, WATCHDOG=1 is sent at half
	// of the unit's WatchdogSec. It is called before each of these messages. If it fails,
	// panics, or takes longer than a quarter of WatchdogSec, the message is not sent, and Check
	// is called again after an eighth of WatchdogSec. When none was sent for WatchdogSec, systemd
	// ends the process and starts it again.
	//
	// Check is not called, and the messages are sent
	//   - before Ready, for as long as this version has to become ready. That is the
	//     [autorestart.Restarter.ReadyTimeout] of the previous version, or one minute.
	//   - while the program is drained.
	//
	// No message is sent between the end of a drain and the exec. EXTEND_TIMEOUT_USEC gives the
	// next version more than one minute until it calls Start. A next version without a Service
	// is ended by the watchdog after that.
	//
	// If nil, the messages are sent as long as the Go scheduler runs goroutines.
	Check func(context.Context) error

	// Logger receives failures of the notify socket, of Check and of the store. If nil, they go to the Logger
	// of a [autorestart.Restarter], as the lines of package sockets do.
	Logger autorestart.Logger

	ending atomic.Pointer[func()] // see Stopping
}

// Start begins to notify systemd. Call it at the top of main, before package sockets is used and
// before [autorestart.Ready].
//
// Start does nothing if neither NOTIFY_SOCKET nor INVOCATION_ID is set: systemd has started neither this
// program nor a process that this program descends from. It does nothing in a stand-in, see
// [autorestart.StandIn], and in calls after the first. If NOTIFY_SOCKET is not set, the unit is not notified
// and stores nothing. Then Start has an effect only if a Restarter is set.
//
// A process has one Service. Start of another one returns an error, and changes nothing.
//
// Start also returns an error, and systemd is not notified, if
//   - NOTIFY_SOCKET is neither an absolute path nor an abstract name, or is too long
//   - no Unix socket can be opened, because RestrictAddressFamilies lacks AF_UNIX for example
//   - this program has other rights than its starter, who can have set NOTIFY_SOCKET
//   - this process is a child of the one that systemd has started, as SYSTEMD_EXEC_PID says
//   - the system is not Linux; the error wraps [errors.ErrUnsupported].
//
// A socket that does not exist is no error, because it may appear later.
func (s *Service) Start() error {
	address := os.Getenv("NOTIFY_SOCKET")
	started := address != "" || os.Getenv("INVOCATION_ID") != ""
	if !started || autorestart.StandIn() {
		return nil
	}
	if v := activation.Get(); !v.IsMain(os.Getpid()) {
		return errors.New("systemd: found SYSTEMD_EXEC_PID=" + strconv.Quote(v.ExecPID) + ", expected " + strconv.Itoa(os.Getpid()) +
			": only the process that systemd has started notifies it")
	}
	i, logger := image.Current(), s.logger()
	if !i.Service.CompareAndSwap(nil, s) {
		if i.Service.Load() == s {
			return nil
		}
		return errSecond
	}
	if s.Restarter != nil {
		serveReloads(i, s.Restarter)
	}
	if address == "" {
		return nil
	}
	if handover.Elevated() {
		return errElevated
	}
	socket, err := sdnotify.Open(address)
	if err != nil {
		return &startError{err}
	}
	store, err := keep(i, socket, logger)
	if err != nil {
		logger.Warn("sockets, files and states are not found after a crash: cannot use systemd's store", "reason", err)
	}
	queue := sdnotify.NewQueue(socket, logger)
	ending := func() {
		i.Drainers.End(errEnding)
		if store != nil {
			store.End()
		}
		queue.Send(sdnotify.Message{Stopping: true})
	}
	s.ending.Store(&ending)
	n := newNotifier(i, queue)
	n.start()
	interval, err := watchdogInterval()
	if err != nil {
		logger.Warn("no watchdog: ignored the variables of systemd", "reason", err)
	}
	if interval > 0 {
		w := &watchdog{notifier: n, check: s.Check, interval: interval, logger: logger}
		w.start()
	}
	return nil
}

// Stopping says that the program is about to end, and sends STOPPING=1. Call it before the program
// closes its listeners, as when it has received SIGTERM. If systemd starts the program again, it finds these
// listeners, and the clients that wait in their queues. Without Stopping it finds them if the program ends
// within one second after it has closed them.
//
// After Stopping no other version is executed: it would not receive the SIGTERM, and systemd would wait for its end until
// TimeoutStopSec. A restart that is under way is called off. A rollback is an exception: a version on trial that ends, or
// fails its Check meanwhile, is rolled back, because it may have called Stopping on its way out after an error.
//
// A Unix listener that is closed is not found again, because Close removes its path.
//
// Stopping is not for restarts by this library. It does nothing if Start has not begun to notify systemd.
func (s *Service) Stopping() {
	if ending := s.ending.Load(); ending != nil {
		(*ending)()
	}
}

// errEnding is the error of a restart after Stopping.
var errEnding = errors.New("autorestart: the program is about to end")

var (
	errSecond   = errors.New("systemd: found another Service that was started before, expected one in this process")
	errElevated = errors.New("systemd: NOTIFY_SOCKET may be that of a starter with fewer rights, because this process has other rights than its starter")
)

// A startError says why systemd is not notified.
type startError struct{ err error }

func (e *startError) Error() string { return "systemd: " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func (s *Service) logger() report.Logger {
	if s.Logger == nil {
		return restartersLogger{}
	}
	return report.To(s.Logger)
}

// restartersLogger passes lines on to the Logger of a Restarter.
type restartersLogger struct{}

func (restartersLogger) Info(msg string, args ...any)  { report.Info(msg, args...) }
func (restartersLogger) Warn(msg string, args ...any)  { report.Warn(msg, args...) }
func (restartersLogger) Error(msg string, args ...any) { report.Error(msg, args...) }
