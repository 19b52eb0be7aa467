//go:build !autorestart_portable

package handover

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAttesterOfReserve: a secure process asks its attester without a free descriptor, also
// in another attempt.
func TestAttesterOfReserve(t *testing.T) {
	defer func(was bool) { Secure = was }(Secure)
	Secure = true
	r, err := NewReserve()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fillTable(t)
	own, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	s := State{Reserve: r}
	for range 2 {
		pair, err := s.socketpair()
		if err != nil {
			t.Fatal(err)
		}
		if err := setTimeout(pair[1]); err != nil {
			t.Fatal(err)
		}
		pid, err := newAttester(pair[0], "statement", own).start()
		if err != nil {
			t.Fatal(err)
		}
		if answered, err := s.ask(pair[1], "statement"); err != nil || answered != pid {
			t.Errorf("process %d has attested, %v; want %d", answered, err, pid)
		}
		end(pid)
		unix.Close(pair[0])
		unix.Close(pair[1])
		r.refill()
	}
}
