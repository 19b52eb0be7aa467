package goaway

import (
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// BenchmarkRequest sends the same requests to a server with a group and to one
// without, in turns, so that other load on the machine affects both.
func BenchmarkRequest(b *testing.B) {
	const turn = 50
	var took [2][]time.Duration
	var urls [2]string
	client := newClient(b)
	for i, g := range []*Group{nil, {}} {
		urls[i] = "https://" + serve(b, &http.Server{Handler: hello}, g)
	}
	get := func(url string) {
		resp, err := client.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	get(urls[0])
	get(urls[1])
	for b.Loop() {
		for i, url := range urls {
			began := time.Now()
			for range turn {
				get(url)
			}
			took[i] = append(took[i], time.Since(began)/turn)
		}
	}
	for i, unit := range []string{"without-ns/request", "with-ns/request"} {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/2]), unit)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFrames measures what following the frames costs: two of a request, and two of
// its response.
func BenchmarkFrames(b *testing.B) {
	request := appendFrame(nil, frameHeaders, 0, 1, string(make([]byte, 50)))
	request = appendFrame(request, frameData, flagEndStream, 1, string(make([]byte, 1000)))
	response := slices.Clone(request)
	c := new(conn)
	stream := uint32(1)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range [][]byte{request, response} {
			binary.BigEndian.PutUint32(p[5:], stream)
			binary.BigEndian.PutUint32(p[headerLen+50+5:], stream)
		}
		if stream += 2; stream > maxStream-2 {
			c, stream = new(conn), 1
		}
		for p := request; len(p) > 0; { // in the pieces that net/http reads
			header := p[:headerLen]
			payload := p[headerLen:][:int(p[1])<<8|int(p[2])]
			c.received(header)
			c.received(payload)
			p = p[headerLen+len(payload):]
		}
		c.sendable(response)
		c.sent(response)
		c.goAwayPending()
		c.takePending()
	}
	if !c.state.none() {
		b.Error("a stream is open")
	}
}

func TestFollowingFramesAllocatesNothing(t *testing.T) {
	request := appendFrame(nil, frameHeaders, 0, 1, "abc")
	request = appendFrame(request, frameData, flagEndStream, 1, "0123456789")
	response := appendFrame(nil, frameHeaders, 0, 1, "abc")
	response = appendFrame(response, frameData, flagEndStream, 1, "0123456789")
	var c conn
	stream := uint32(1)
	n := testing.AllocsPerRun(1000, func() {
		for _, b := range [][]byte{request, response} {
			binary.BigEndian.PutUint32(b[5:], stream)
			binary.BigEndian.PutUint32(b[headerLen+3+5:], stream)
		}
		stream += 2
		c.received(request)
		c.sendable(response)
		c.sent(response)
		if !c.state.none() {
			t.Fatal("the stream is open")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}
