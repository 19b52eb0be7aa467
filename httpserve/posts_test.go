//go:build linux

package httpserve_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// posts are requests of several clients, one after the other, until end is called. Their bodies can't
// be sent a second time, and come back in the responses. Each must be answered.
type posts struct {
	t                     testing.TB
	url                   string
	stop                  chan struct{}
	clients               sync.WaitGroup
	done, unsent, slowest atomic.Int64
}

func startPosts(t testing.TB, clients int, client *http.Client, url string) *posts {
	p := &posts{t: t, url: url, stop: make(chan struct{})}
	for i := range clients {
		p.clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-p.stop:
					return
				default:
					p.post(client, strconv.Itoa(i)+" "+strconv.Itoa(n))
				}
			}
		})
	}
	return p
}

func (p *posts) post(client *http.Client, body string) {
	start := time.Now()
	reader := strings.NewReader(body)
	resp, err := client.Post(p.url, "text/plain", io.MultiReader(reader))
	if err != nil && reader.Len() == len(body) && testprocess.GaveUpUnsent(err) {
		p.unsent.Add(1)
		return
	}
	if err != nil {
		p.t.Errorf("request %s: %v", body, err)
		return
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(got) != body || err != nil {
		p.t.Errorf("request %s: %s, answer %q, %v", body, resp.Status, got, err)
	}
	p.done.Add(1)
	p.slowest.Store(max(p.slowest.Load(), int64(time.Since(start))))
}

// await waits for further requests.
func (p *posts) await() {
	p.t.Helper()
	before := p.done.Load()
	WaitFor(p.t, "requests", func() bool { return p.done.Load() > before+20 })
}

// end returns when the last request is answered.
func (p *posts) end() {
	p.t.Helper()
	close(p.stop)
	p.clients.Wait()
	if p.unsent.Load() > p.done.Load()/10 {
		p.t.Error("the client gave up too many requests")
	}
	p.t.Logf("%s: %d requests, %d that the client gave up, the slowest took %v", p.url, p.done.Load(), p.unsent.Load(), time.Duration(p.slowest.Load()))
}
