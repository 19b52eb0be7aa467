package testprocess

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A handshake is begun again only if it began late.
func TestDialHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	errClosed := errors.New("closed by the server")
	const late = 30 * time.Millisecond
	attempts := 0
	conn, err := DialHandshake(t.Context(), "tcp", ln.Addr().String(), func(c net.Conn) (net.Conn, error) {
		if attempts++; attempts > 2 {
			return c, nil
		}
		time.Sleep(late)
		io.WriteString(c, "hello")
		return nil, errClosed
	})
	if attempts != 3 || err != nil {
		t.Fatalf("%d attempts, %v", attempts, err)
	}
	conn.Close()
	for began := time.Now(); ; began = time.Now() {
		attempts = 0
		_, err = DialHandshake(t.Context(), "tcp", ln.Addr().String(), func(c net.Conn) (net.Conn, error) {
			attempts++
			io.WriteString(c, "hello")
			time.Sleep(late)
			return nil, errClosed
		})
		if err != errClosed {
			t.Fatal(err)
		}
		if attempts == 1 {
			return
		}
		if time.Since(began) < time.Duration(2*attempts-1)*25*time.Millisecond {
			t.Fatalf("%d attempts, none of which began late", attempts)
		}
	}
}
