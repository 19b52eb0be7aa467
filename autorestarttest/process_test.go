//go:build unix

package autorestarttest_test

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestDrainIsCalledOff(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	q := newQueue()
	defer autorestart.RegisterDrainer(q)()
	draining := autorestart.Draining()
	p.BeginDrain(0)
	if q.accepting() {
		t.Error("it accepts during the drain")
	}
	<-draining
	p.CallOff()
	if !q.accepting() {
		t.Error("it does not accept after the drain")
	}
	select {
	case <-autorestart.Draining():
		t.Error("the process is still drained")
	default:
	}
	p.BeginDrain(0)
	close(q.jobs)
	if unfinished := p.WaitDrained(); len(unfinished) > 0 {
		t.Errorf("unfinished: %q", unfinished)
	}
}

func TestDrainIsCutOff(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	q := newQueue()
	defer autorestart.RegisterDrainer(q)()
	p.BeginDrain(time.Millisecond)
	if unfinished := p.WaitDrained(); len(unfinished) != 1 || unfinished[0] != "1 job" {
		t.Errorf("unfinished: %q", unfinished)
	}
	p.CallOff()
}

// The next image gets a file, a state and a socket. A client that has connected before is accepted there.
func TestNextImageGetsWhatIsHandedOver(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	autorestart.Pass("pipe", w)
	autorestart.SetState("count", []byte("1"))
	ln, err := sockets.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	autorestart.Ready()
	p.WaitReady()

	p.Restart(nil)
	if n := autorestart.Generation(); n != 1 {
		t.Errorf("generation %d", n)
	}
	inherited, err := autorestart.Inherited("pipe")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(inherited, "handed over")
	inherited.Close()
	text := make([]byte, len("handed over"))
	if _, err := io.ReadFull(r, text); err != nil || string(text) != "handed over" {
		t.Errorf("read %q, %v", text, err)
	}
	if value, _ := autorestart.State("count"); string(value) != "1" {
		t.Errorf("state %q", value)
	}
	client, err := testprocess.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ln, err = sockets.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	autorestart.Ready()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestRestartFails(t *testing.T) {
	p := autorestarttest.NewProcess(t)
	q := newQueue()
	close(q.jobs)
	defer autorestart.RegisterDrainer(q)()
	if err := p.FailRestart(nil, syscall.ENOEXEC); !errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("got %v", err)
	}
	if !q.accepting() || autorestart.Generation() != 0 {
		t.Errorf("accepts %v, generation %d", q.accepting(), autorestart.Generation())
	}
	p.Restart(nil)
	if autorestart.Generation() != 1 {
		t.Errorf("generation %d", autorestart.Generation())
	}
}
