//go:build linux

package restart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/client"
	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

const (
	datagramsPerSecond = 10_000
	maxDatagramDeploys = 100
	burst              = time.Millisecond // the datagrams of this time are sent at once
	echoBuffer         = 1 << 20          // of the client's socket, so that no echo is lost there
	echoTimeout        = 30 * time.Second // for the last echoes
)

// A stream sends numbered datagrams to an echo daemon at a steady rate.
type stream struct {
	sightings
	conn    *net.UDPConn
	sent    atomic.Int64
	all     atomic.Int64 // sent in the end; math.MaxInt64 until it is known
	echoed  map[int64]bool
	slowest time.Duration
}

func newStream(address string) (*stream, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(echoBuffer); err != nil {
		conn.Close()
		return nil, err
	}
	return &stream{conn: conn}, nil
}

func (s *stream) lost() int64 { return s.sent.Load() - int64(len(s.echoed)) }

// during sends until f returns, and then waits for the missing echoes.
func (s *stream) during(f func() error) error {
	s.sent.Store(0)
	s.all.Store(math.MaxInt64)
	s.echoed, s.slowest = make(map[int64]bool), 0
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	var sending, receiving error
	wg.Go(func() { sending = s.send(&over) })
	wg.Go(func() { receiving = s.receive() })
	err := f()
	over.Store(true)
	wg.Wait()
	return errors.Join(err, sending, receiving)
}

// A datagram consists of its number and the time when it was sent. The echo appends
// the daemon's identity.
const datagramSize = 8 + 8

func (s *stream) send(over *atomic.Bool) error {
	tick := time.NewTicker(burst)
	defer tick.Stop()
	began := time.Now()
	for !over.Load() {
		for due := int64(time.Since(began).Seconds() * datagramsPerSecond); s.sent.Load() < due; s.sent.Add(1) {
			if err := s.write(s.sent.Load()); err != nil {
				return err
			}
		}
		<-tick.C
	}
	s.all.Store(s.sent.Load())
	if err := s.conn.SetReadDeadline(time.Now().Add(echoTimeout)); err != nil {
		return err
	}
	return s.write(s.all.Load()) // one more, whose echo ends receive
}

func (s *stream) write(number int64) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(number))
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixNano()))
	_, err := s.conn.Write(b)
	if errors.Is(err, syscall.ECONNREFUSED) { // of an earlier datagram, which counts as lost
		return nil
	}
	return err
}

func (s *stream) receive() error {
	buf := make([]byte, 2048)
	for int64(len(s.echoed)) < s.all.Load() {
		n, err := s.conn.Read(buf)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil // the missing echoes are lost
		case err != nil:
			return err
		}
		if err := s.record(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// record records an echo.
func (s *stream) record(b []byte) error {
	if len(b) <= datagramSize {
		return fmt.Errorf("%w: an echo of %d bytes", client.ErrWrong, len(b))
	}
	id, err := daemon.ParseIdentity(string(b[datagramSize:]))
	if err != nil {
		return fmt.Errorf("%w: %v", client.ErrWrong, err)
	}
	s.saw(id)
	number := int64(binary.BigEndian.Uint64(b))
	if s.echoed[number] {
		return fmt.Errorf("%w: a second echo of datagram %d", client.ErrWrong, number)
	}
	if number < s.all.Load() {
		s.echoed[number] = true
		s.slowest = max(s.slowest, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(b[8:])))))
	}
	return nil
}
