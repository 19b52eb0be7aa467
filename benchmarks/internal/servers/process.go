//go:build linux

package servers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

// A Process is a running daemon, and the processes that replace it.
type Process struct {
	*Server
	Version int             // that was deployed last
	Current daemon.Identity // of the version that answered last

	program []byte // the executable without a trailer
	path    string // of the deployed version

	cmd   *exec.Cmd
	alive io.Closer // its Close ends the daemon
	log   *os.File
}

// start deploys the first version of a program in dir, and runs it.
func start(s *Server, program []byte, dir string, args ...string) (*Process, error) {
	p := &Process{Server: s, program: program, path: filepath.Join(dir, s.Name)}
	if err := p.install(""); err != nil {
		return nil, err
	}
	log, err := os.Create(p.path + ".log")
	if err != nil {
		return nil, err
	}
	p.log = log
	p.cmd = exec.Command(p.path, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, stdinWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	p.cmd.Stdin, p.alive = stdin, stdinWriter
	if err := p.cmd.Start(); err != nil {
		p.alive.Close()
		return nil, err
	}
	return p, nil
}

// With runs f beside a program that listens on a network in dir.
func With(s *Server, program []byte, dir, network string, args []string, f func(p *Process, address string) error) error {
	address, err := freeAddress(network, dir)
	if err != nil {
		return err
	}
	p, err := start(s, program, dir, append(args, "-network", network, "-address", address)...)
	if err != nil {
		return err
	}
	if err = f(p, address); err != nil {
		err = fmt.Errorf("%w; end of the daemon's log:\n%s", err, p.logTail())
	}
	return errors.Join(err, p.stop())
}

// freeAddress returns an address that no socket is bound to.
func freeAddress(network, dir string) (string, error) {
	switch network {
	case "unix":
		return filepath.Join(dir, "socket"), nil
	case "udp":
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		return conn.LocalAddr().String(), conn.Close()
	}
	ln, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// PID returns the process that was started first.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Deploy deploys the next version, which may have a fault, see package trailer. It asks the
// daemon to restart if that is necessary.
func (p *Process) Deploy(fault string) error {
	if err := p.install(fault); err != nil || p.restart == nil {
		return err
	}
	return p.restart(p)
}

// install deploys the next version by rename.
func (p *Process) install(fault string) error {
	p.Version++
	var b bytes.Buffer
	if err := trailer.Append(&b, p.Version, fault); err != nil {
		return err
	}
	next := p.path + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range [][]byte{p.program, b.Bytes()} {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(next, p.path)
}

// CheckPID returns an error if the last version that answered is in another process than the
// first.
func (p *Process) CheckPID() error {
	if p.Current.PID != p.PID() {
		return fmt.Errorf("PID %d has become %d", p.PID(), p.Current.PID)
	}
	return nil
}

// stop ends the daemon and the processes that it has started.
func (p *Process) stop() error {
	// They are one process group. Its number can't be reused before Wait.
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.cmd.Wait() // reports the SIGKILL
	p.alive.Close()
	p.log.Close()
	return err
}

// logTail returns the end of the daemon's log.
func (p *Process) logTail() []byte {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-1000):]
}
