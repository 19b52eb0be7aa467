//go:build linux

package httpserve_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// halfRequests are connections with the beginning of a request on them, each of its length: the
// first, one after a request that was answered, and one that was sent with the request before.
func halfRequests(t *testing.T, address string, lengths ...int) (conns []*client) {
	t.Helper()
	for _, n := range lengths {
		first := connect(t, address)
		first.send(askGeneration[:n])
		second := connect(t, address)
		second.send(askGeneration)
		second.want("0")
		second.send(askGeneration[:n])
		conns = append(conns, first, second)
		if n <= 3 {
			pipelined := connect(t, address)
			pipelined.send(askGeneration + askGeneration + askGeneration[:n])
			pipelined.want("0")
			pipelined.want("0")
			conns = append(conns, pipelined)
		}
	}
	return conns
}

var halfLengths = []int{1, 2, 3, 4, 5, 10, 26, len(askGeneration) - 6, len(askGeneration) - 5}

// finishRequests sends the rest of the requests, the answers to which must come from the given
// generation.
func finishRequests(t *testing.T, conns []*client, lengths []int, generation string) {
	t.Helper()
	for _, n := range lengths {
		for range 2 + max(0, min(1, 4-n)) {
			c := conns[0]
			conns = conns[1:]
			c.send(askGeneration[n:] + askGeneration)
			for range 2 {
				if c.want(generation).Close {
					t.Errorf("after %d bytes: the response says Connection: close", n)
				}
			}
		}
	}
}

// A restart does not wait for the rest of a header. The new version answers the request.
func TestHalfRequestsCross(t *testing.T) {
	d, address := startWeb(t)
	conns := halfRequests(t, address, halfLengths...)
	for range 3 {
		d.Restart()
		d.Want("ready")
		wantQuickDrain(t, d)
	}
	finishRequests(t, conns, halfLengths, "3")
}

func TestHalfRequestsGoBackInRollback(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	d, address := startWeb(t)
	conns := halfRequests(t, address, halfLengths...)
	d.Ask("next failing", "done")
	d.Restart()
	d.NextStart() // of the version before
	d.Want("ready")
	finishRequests(t, conns, halfLengths, "2")
}

func TestHalfRequestsContinueWhenRestartIsCalledOff(t *testing.T) {
	d, address := startWeb(t)
	conns := halfRequests(t, address, halfLengths...)
	for range 2 {
		d.Ask("restart-off", "before")
		d.Ask("continue", "off")
	}
	finishRequests(t, conns, halfLengths, "0")
}

// Some clients send an empty line after the body of a POST request.
func TestEmptyLineBeforeRequestCrosses(t *testing.T) {
	d, address := startWeb(t)
	var conns []*client
	for range 2 {
		c := connect(t, address)
		c.send(askGeneration + "\r\n")
		c.want("0")
		conns = append(conns, c)
	}
	conns[1].send(askGeneration[:10])
	d.Restart()
	d.Want("ready")
	wantQuickDrain(t, d)
	conns[0].send(askGeneration)
	conns[0].want("1")
	conns[1].send(askGeneration[10:])
	conns[1].want("1")
}

func TestHeaderByteByByteOverRestarts(t *testing.T) {
	d, address := startWeb(t)
	c := connect(t, address)
	generation := 0
	for i := range len(askGeneration) {
		c.send(askGeneration[i : i+1])
		if i%6 == 3 && generation < 10 {
			d.Restart()
			d.Want("ready")
			wantQuickDrain(t, d)
			generation++
		}
	}
	c.want(strconv.Itoa(generation))
}

// Where the server has parsed the first lines of a request, nothing tells how many. The version that
// has read them answers.
func TestRequestWithParsedLinesStays(t *testing.T) {
	line := strings.Index(askGeneration, "\n") + 1
	d, address := startWeb(t, patientEnv+"=1")
	c := connect(t, address)
	c.send(askGeneration + askGeneration[:line])
	c.want("0")
	d.Tell("report-draining")
	d.Ask("restart", "draining")
	c.send(askGeneration[line:])
	c.want("0")
	d.Want("start")
	d.Want("ready")
	wantQuickDrain(t, d)
}

// Requests with bodies are sent in pieces, several at once, over many restarts. Every answer must be
// there, and in order.
func TestRequestsInPiecesOverRestarts(t *testing.T) {
	d, address := startWeb(t, patientEnv+"=1")
	const clients, rounds = 8, 60
	seed := testprocess.FromEnv(t, "AUTORESTART_TEST_SEED", int(rand.Uint32()))
	t.Logf("AUTORESTART_TEST_SEED=%d", seed)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range clients {
		c := connect(t, address)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				if c, err = inPieces(c, address, r, fmt.Sprintf("%d.%d.", i, n)); err != nil {
					t.Errorf("client %d, round %d: %v", i, n, err)
					return
				}
			}
		})
	}
	for range rounds {
		d.Restart()
		d.Want("ready")
		wantQuickDrain(t, d)
	}
	close(stop)
	wg.Wait()
}

// inPieces sends a few requests in pieces and reads the answers. If one says Connection: close, the
// requests after it are sent again on another connection, which it returns.
func inPieces(c *client, address string, r *rand.Rand, name string) (*client, error) {
	var bodies, requests []string
	for i := range 1 + r.IntN(3) {
		body := name + strconv.Itoa(i) + strings.Repeat("b", r.IntN(3)*r.IntN(6000))
		bodies = append(bodies, body)
		requests = append(requests, fmt.Sprintf("POST /whole-echo HTTP/1.1\r\nHost: example\r\nX-Name: %s\r\nContent-Length: %d\r\n\r\n%s", name, len(body), body))
	}
	for len(bodies) > 0 {
		sent, w := make(chan struct{}), c.Conn
		go func() {
			defer close(sent)
			for text := strings.Join(requests, ""); text != ""; {
				n := 1 + r.IntN(min(len(text), 1+r.IntN(400)))
				if _, err := io.WriteString(w, text[:n]); err != nil {
					return // after Connection: close
				}
				text = text[n:]
				if r.IntN(4) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
			}
		}()
		closed := false
		for len(bodies) > 0 && !closed {
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				return nil, err
			}
			got, err := io.ReadAll(resp.Body)
			if string(got) != bodies[0] || err != nil {
				return nil, fmt.Errorf("answer of %d bytes, %.50q, %v; want %d bytes, %.50q", len(got), got, err, len(bodies[0]), bodies[0])
			}
			bodies, requests, closed = bodies[1:], requests[1:], resp.Close
		}
		if closed {
			c.Close()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return nil, err
			}
			c.t.Cleanup(testprocess.LimitIO(conn, time.Minute))
			c = &client{conn, c.t, bufio.NewReader(conn)}
		}
		<-sent
	}
	return c, nil
}
