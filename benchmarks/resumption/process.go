//go:build linux

package resumption

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A process is a server, as the benchmark has it.
type process struct {
	cmd     *exec.Cmd
	address string
	lines   chan string
}

// build builds the executable of the servers, in a directory.
func build(dir string) (executable string, err error) {
	executable = filepath.Join(dir, "server")
	if out, err := exec.Command("go", "build", "-o", executable, "./server").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return executable, nil
}

func start(executable, name, cert string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(executable, name, address, cert), address: address, lines: make(chan string)}
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p, p.awaitReady()
}

// freeAddress returns an address that no socket has.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// readyTimeout is for a server that never gets ready.
const readyTimeout = time.Minute

func (p *process) awaitReady() error {
	select {
	case _, ok := <-p.lines:
		if !ok {
			return errors.New("the server has ended")
		}
		return nil
	case <-time.After(readyTimeout):
		return errors.New("the server does not get ready")
	}
}

func (p *process) restart() error {
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return p.awaitReady()
}

func (p *process) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// cpuTime returns the CPU time of the process.
func (p *process) cpuTime() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	const user, system, tick = 11, 12, time.Second / 100 // after the name; see proc_pid_stat(5)
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	ticks := 0
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(string(fields[i]))
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
