package autorestarttest

import (
	"fmt"
	"net"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testclock"
)

// Reports are in the order in which the images have started, also if the first messages arrive in
// another order.
func TestReportsAreInOrder(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x, received := new(reports), make(chan bool)
	go func() {
		defer close(received)
		x.receive(socket)
	}()
	defer func() {
		socket.Close()
		<-received
		x.close()
	}()
	var conns []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	version := func(n int) int {
		x.mu.Lock()
		defer x.mu.Unlock()
		if n >= len(x.all) {
			return 0
		}
		return x.all[n].Version
	}
	fmt.Fprintln(conns[1], `{"Start":{"Version":2}}`)
	testclock.WaitFor(t, "second report", func() bool { return version(1) == 2 })
	fmt.Fprintln(conns[0], `{"Start":{"Version":1}}`)
	testclock.WaitFor(t, "first report", func() bool { return version(0) == 1 })
}
