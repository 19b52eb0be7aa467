//go:build linux

package restart

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
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/trailer"
)

// A process is a running daemon, and the processes that replace it.
type process struct {
	*server
	program []byte // the executable without a trailer
	path    string // of the deployed version
	version int    // that was deployed last

	cmd   *exec.Cmd
	alive io.Closer // its Close ends the daemon
	log   *os.File

	current daemon.Identity // of the version that answered last
}

// start deploys the first version of a program in dir, and runs it.
func start(s *server, program []byte, dir string, args ...string) (*process, error) {
	p := &process{server: s, program: program, path: filepath.Join(dir, s.name)}
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

// withProcess runs f beside a program that listens on a network in dir.
func withProcess(s *server, program []byte, dir, network string, args []string, f func(p *process, address string) error) error {
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

// install deploys the next version by rename.
func (p *process) install(fault string) error {
	p.version++
	var b bytes.Buffer
	if err := trailer.Append(&b, p.version, fault); err != nil {
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

// deploy restarts the daemon into a new version, and waits for the first answer of
// this version.
func (p *process) deploy(s *sightings) error {
	if err := p.install(""); err != nil {
		return err
	}
	if p.restart != nil {
		if err := p.restart(p); err != nil {
			return err
		}
	}
	return p.await(s, func(id daemon.Identity) bool { return id.Version == p.version })
}

func anyVersion(daemon.Identity) bool { return true }

// errStuck is the error of a deploy after which the expected version does not
// answer.
var errStuck = errors.New("stuck")

// await waits for an answer of a wanted version.
func (p *process) await(s *sightings, wanted func(daemon.Identity) bool) error {
	const limit = 20 * time.Second
	id, ok := s.await(wanted, limit)
	if !ok {
		return fmt.Errorf("%w: %v after the deploy of version %d, version %d is the last that answered", errStuck, limit, p.version, p.current.Version)
	}
	p.current = id
	if p.strict && id.PID != p.cmd.Process.Pid {
		return fmt.Errorf("PID %d has become %d", p.cmd.Process.Pid, id.PID)
	}
	return nil
}

// stop ends the daemon and the processes that it has started.
func (p *process) stop() error {
	// They are one process group. Its number can't be reused before Wait.
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.cmd.Wait() // reports the SIGKILL
	p.alive.Close()
	p.log.Close()
	return err
}

// logTail returns the end of the daemon's log.
func (p *process) logTail() []byte {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-1000):]
}
