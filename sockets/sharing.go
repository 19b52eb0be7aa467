package sockets

import (
	"maps"
	"os"
	"slices"

	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// A stand-in may open an address that the main process has not: it is of another version. The
// main process executes the same version, which opens the address, too, while the stand-in has
// it. So the stand-in gives the socket to the main process. That passes it to the next version,
// and does not serve it. If the restart is called off, or the stand-in is rejected, the main process
// closes it.

// share gives the sockets that this process has opened itself to the process beside this one.
func (r *registry) share() {
	unlock := r.lock()
	listeners := slices.Collect(maps.Keys(r.listeners))
	packets := slices.Collect(maps.Keys(r.packets))
	unlock()
	for _, l := range listeners {
		l.registration.share(l.socket)
	}
	for _, p := range packets {
		p.registration.share(p.socket)
	}
}

func (r *registration) share(s socket) {
	if r.inherited {
		return
	}
	f, err := s.File()
	if err != nil {
		return // the program has closed it
	}
	defer f.Close()
	withDescriptor(f, func(fd int) { r.registry.Beside.Give(image.Conn{Key: r.key.String(), FD: fd}) })
}

// takeShared passes a socket that the process beside this one has opened to the next version.
func (r *registry) takeShared(k key, fd int) (taken bool) {
	duplicate, err := sys.Duplicate(fd)
	if err != nil {
		return false
	}
	f := duplicate.File(k.String())
	defer f.Close()
	k = r.reserveNumber(k)
	if r.passFile(k, f) != nil {
		r.freeNumber(k)
		return false
	}
	sys.NewFD(fd).Close()
	defer r.lock()()
	r.offered = append(r.offered, k)
	return true
}

// besideServes keeps what takeShared has taken from the process that serves now. If none does, all
// of it is closed.
func (r *registry) besideServes(serves bool) {
	unlock := r.lock()
	r.shared, r.offered = append(r.shared, r.offered...), nil
	var closing []key
	if !serves {
		closing, r.shared = r.shared, nil
	}
	unlock()
	r.unshare(closing)
}

// besideRejected closes what takeShared has taken from a process that never serves.
func (r *registry) besideRejected() {
	unlock := r.lock()
	closing := r.offered
	r.offered = nil
	unlock()
	r.unshare(closing)
}

func (r *registry) unshare(keys []key) {
	for _, k := range keys {
		if k.ownsPath() {
			os.Remove(k.local)
		}
		r.stopPassing(k)
		r.freeNumber(k)
	}
}
