package agent

import (
	"encoding/json"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest/internal/protocol"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/step"
)

// The initialisation of this package comes before main, and before that of package main: a
// version that fails there has been reported.
func init() {
	executable, err := os.Open("/proc/self/exe")
	if err != nil {
		return
	}
	label, ok := protocol.ReadLabel(executable)
	executable.Close()
	if ok {
		start(label)
	}
}

func start(label protocol.Label) {
	conn, err := connect(label.Socket)
	if err != nil {
		end("this program was built for a test, which can't be reached: " + err.Error())
	}
	a := &agent{conn: conn}
	i := image.Current()
	begin := &protocol.Start{
		PID:        os.Getpid(),
		Generation: autorestart.Generation(),
		Version:    label.Version,
		StandIn:    autorestart.StandIn(),
		OnTrial:    i.Trial.On(),
		Times:      autorestart.LastRestart(),
	}
	if begin.OnTrial {
		begin.ReadyWithin = time.Duration(i.Inherited.Number(handover.ReadyWithin)) * time.Millisecond
		begin.HealthWithin = time.Duration(i.Inherited.Number(handover.HealthWithin)) * time.Millisecond
	}
	if err, ok := autorestart.RolledBack().(*autorestart.RollbackError); ok {
		begin.RolledBack = err.Reason
	}
	a.send(protocol.Message{Start: begin})
	go a.awaitEnd()
	i.OnStep(a.step)
	image.BeforeReady = func() bool { return fail(label.Fault) }
	failBeforeMain(label.Fault)
}

// connect connects without package net, with which a program may need a dynamic loader.
func connect(socket string) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for {
		if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "autorestarttest"), nil
}

type agent struct {
	mu   sync.Mutex
	conn *os.File
}

// sendLimit is how long a test may take to read.
const sendLimit = 10 * time.Second

func (a *agent) send(m protocol.Message) {
	m.At = time.Now()
	text, err := json.Marshal(m)
	if err != nil {
		end(err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	a.conn.Write(append(text, '\n')) // if that fails, the test has ended, see awaitEnd
}

func (a *agent) step(kind step.Kind, err error) {
	m := protocol.Message{Step: kind}
	if err != nil {
		m.Error = err.Error()
	}
	a.send(m)
}

// awaitEnd kills the process when the test has ended: no daemon of a test is left over.
func (a *agent) awaitEnd() {
	a.conn.Read(make([]byte, 1)) // the test sends nothing
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func end(reason string) {
	os.Stderr.WriteString("autorestarttest: " + reason + "\n")
	os.Exit(2)
}

// failBeforeMain has this version fail, if that is its fault.
func failBeforeMain(fault string) {
	switch fault {
	case protocol.FaultInitPanic:
		panic("autorestarttest: this version panics before main")
	case protocol.FaultHang:
		for {
			time.Sleep(time.Hour)
		}
	}
}

// fail has this version fail when it calls Ready, if that is its fault. It reports whether Ready may
// go on.
func fail(fault string) bool {
	switch fault {
	case protocol.FaultPanic:
		panic("autorestarttest: this version panics")
	case protocol.FaultExit:
		end("this version exits")
	}
	return fault != protocol.FaultNotReady
}
