package goaway

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// posters send requests that can't be sent twice, eight at a time. They are also the
// handler of these requests.
type posters struct {
	*testing.T
	client *http.Client
	url    string
	number atomic.Int64 // of the last request
	served atomic.Int64
	seen   sync.Map // numbers of the requests that reached the handler
}

// longPingTimeout is for clients that are held up by other processes as long as they may be on a machine
// that has nothing else to do.
const longPingTimeout = 5 * time.Second

func newPosters(t *testing.T) *posters { return &posters{T: t, client: newClient(t)} }

func (p *posters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.seen.Store(r.ContentLength, true)
	io.Copy(w, r.Body)
}

// start sends requests until end is called.
func (p *posters) start() (end func()) {
	var wg sync.WaitGroup
	var stop atomic.Bool
	var unsent atomic.Int64
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				sent, err := p.post()
				switch {
				case err == nil:
					p.served.Add(1)
				case !sent && testprocess.GaveUpUnsent(err):
					unsent.Add(1) // see goAwayDelay; the client could send it again
				default:
					p.Error(err)
				}
			}
		})
	}
	return func() {
		stop.Store(true)
		wg.Wait()
		p.Logf("%d requests served, %d that the client gave up unsent", p.served.Load(), unsent.Load())
		if unsent.Load() > p.served.Load()/10 {
			p.Error("too many unsent")
		}
	}
}

// post reports whether any part of the request was sent. The length of the body
// identifies the request.
func (p *posters) post() (sent bool, err error) {
	number := 1000 + p.number.Add(1)
	body := &body{left: number}
	req, _ := http.NewRequest("POST", p.url, body)
	req.ContentLength = number
	resp, err := p.client.Do(req)
	if err != nil {
		_, seen := p.seen.Load(number)
		return seen || body.left < number, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.ProtoMajor != 2 || resp.StatusCode != 200 || n != number) {
		err = errors.New("the response belongs to another request: " + resp.Proto + " " + resp.Status)
	}
	return true, err
}

// A body has a number of bytes, and can be read once.
type body struct{ left int64 }

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), b.left)
	b.left -= n
	return int(n), nil
}
