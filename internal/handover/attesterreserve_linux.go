//go:build !autorestart_portable

package handover

import "syscall"

// An attesterReserve has what attest needs open in a process that is Secure.
type attesterReserve struct {
	pair  []int // the connection to an attester; nil if it is used
	probe int   // a file with the name; 0 if there is none
	name  string
}

func (r *attesterReserve) fill() (err error) {
	if !Secure {
		return nil
	}
	if r.pair == nil {
		if r.pair, err = socketpair(); err != nil {
			return err
		}
	}
	if r.probe == 0 {
		name := randomName()
		fd, err := memfdCreate(name)
		switch {
		case err == nil:
			r.probe, r.name = fd, name
		case MayPass(err):
			return err
		}
	}
	return nil
}

func (r *attesterReserve) close() {
	for _, fd := range r.pair {
		syscall.Close(fd)
	}
	if r.probe != 0 {
		syscall.Close(r.probe)
	}
	*r = attesterReserve{}
}

// socketpair returns a connection to an attester. The caller owns both ends.
func (s *State) socketpair() (pair []int, err error) {
	pair, err = socketpair()
	if r := s.Reserve; err != nil && r != nil && r.attester.pair != nil {
		pair, r.attester.pair = r.attester.pair, nil
		return pair, nil
	}
	return pair, err
}

// refill is called when a connection has been closed.
func (r *Reserve) refill() {
	if r != nil {
		r.attester.fill() // an error says that the room it left is taken: the next attempt finds out
	}
}

func socketpair() (pair []int, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for i, fd := range fds {
		if fds[i], err = aboveStandard(fd, nil); err != nil {
			syscall.Close(fds[1-i])
			return nil, err
		}
	}
	return fds[:], nil
}

// probe returns a file with a random name, and what closes it.
func (s *State) probe() (fd int, name string, end func(), err error) {
	name = randomName()
	fd, err = memfdCreate(name)
	if err == nil {
		return fd, name, func() { syscall.Close(fd) }, nil
	}
	if r := s.Reserve; r != nil && r.attester.probe != 0 {
		return r.attester.probe, r.attester.name, func() {}, nil
	}
	return -1, "", nil, err
}
