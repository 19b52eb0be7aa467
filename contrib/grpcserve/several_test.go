//go:build linux

package grpcserve_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
	"github.com/autorestart-go/autorestart/sockets"
)

// rpcOrder is the DrainOrder of the gRPC server that is drained after the site, and adminOrder that of the
// admin server, which is drained last.
const (
	rpcOrder   = 5
	adminOrder = 10
)

// severalMain serves a site, gRPC, and an admin server.
func severalMain(rpcOrder int) {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	draining := autorestart.Draining()
	var addresses []string
	listen := func(order int) net.Listener {
		c := sockets.Config{DrainOrder: order}
		ln := Must(c.Listen(context.Background(), "tcp", "127.0.0.1:0"))
		addresses = append(addresses, ln.Addr().String())
		return ln
	}
	serveHTTP := func(ln net.Listener, handler http.HandlerFunc) {
		go func() { panic(httpserve.Serve(&http.Server{Handler: handler}, ln)) }()
	}
	serveHTTP(listen(0), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			Say("begun", "")
		}
		io.Copy(w, r.Body)
	})
	s := grpc.NewServer(grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()))
	testpb.RegisterTestServiceServer(s, testService{})
	ln := listen(rpcOrder)
	go func() { panic(grpcserve.Serve(s, ln)) }()
	serveHTTP(listen(adminOrder), func(w http.ResponseWriter, _ *http.Request) {
		state := "serving"
		select {
		case <-draining:
			state = "draining"
		default:
		}
		fmt.Fprint(w, autorestart.Generation(), " ", state)
	})
	autorestart.Ready()
	Say("ready", strings.Join(addresses, " "))
	Obey(&autorestart.Restarter{Logger: slog.Default()}, map[string]func(string){
		"report-draining": func(string) {
			go func() {
				<-draining
				Say("draining", "")
			}()
		},
	})
}

// newHTTPClient returns a client that uses each connection once, or keeps it.
func newHTTPClient(t *testing.T, keep bool) *http.Client {
	transport := &http.Transport{DisableKeepAlives: !keep, DialContext: testprocess.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post sends a request that net/http does not repeat, as its body can't be read again.
func post(client *http.Client, url string, body io.Reader) (string, error) {
	resp, err := client.Post(url, "text/plain", io.MultiReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// posts are requests of several clients.
type posts struct {
	t            *testing.T
	done, unsent atomic.Int64
	end          func()
}

// startPosts has two clients send requests: one keeps its connection, and one makes a new one for each
// request.
func startPosts(t *testing.T, url string) *posts {
	p := &posts{t: t}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	p.end = sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	t.Cleanup(p.end)
	for _, keep := range []bool{false, true} {
		client := newHTTPClient(t, keep)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					p.post(client, url, fmt.Sprint(keep, n))
				}
			}
		})
	}
	return p
}

func (p *posts) post(client *http.Client, url, body string) {
	reader := strings.NewReader(body)
	got, err := post(client, url, reader)
	switch {
	case err != nil && reader.Len() == len(body) && testprocess.GaveUpUnsent(err):
		p.unsent.Add(1) // the client has found its idle connection closed, and sent nothing
	case err != nil || got != body:
		p.t.Errorf("request %s: answer %q, %v", body, got, err)
	default:
		p.done.Add(1)
	}
}

// awaitSome waits for a number of requests.
func (p *posts) awaitSome() {
	p.t.Helper()
	before := p.done.Load()
	WaitFor(p.t, "requests", func() bool { return p.done.Load() > before+20 })
}

// wantState asks the admin server.
func wantState(t *testing.T, client *http.Client, admin, want string) {
	t.Helper()
	if got, err := post(client, "http://"+admin, strings.NewReader("")); got != want || err != nil {
		t.Errorf("the admin server answers %q, %v; want %q", got, err, want)
	}
}

// Each of the servers drains by the rules of its package: no request and no call is lost.
func TestSeveralServersLoseNothing(t *testing.T) {
	for _, name := range []string{"several", "several in stages"} {
		t.Run(name, func(t *testing.T) {
			d := Start(t, name)
			addresses := strings.Fields(d.Want("ready"))
			requests := startPosts(t, "http://"+addresses[0])
			calls := startCalls(t, "passthrough:///"+addresses[1], nil, false)
			admin := newHTTPClient(t, false)
			for n := range 6 {
				requests.awaitSome()
				calls.awaitSome()
				wantState(t, admin, addresses[2], fmt.Sprint(n, " serving"))
				d.Restart()
				d.Want("ready")
			}
			requests.awaitSome()
			calls.awaitSome()
			requests.end()
			calls.end()
			if requests.unsent.Load() > requests.done.Load()/10 {
				t.Error("the client gave up too many requests")
			}
			t.Logf("%d requests, %d that the client gave up, %d calls", requests.done.Load(), requests.unsent.Load(), calls.done.Load())
		})
	}
}

// The admin server answers until the others are drained, also new connections. A gRPC server with a
// DrainOrder answers until the site is drained.
func TestAdminServerWorksUntilOthersAreDrained(t *testing.T) {
	for _, name := range []string{"several", "several in stages"} {
		t.Run(name, func(t *testing.T) {
			d := Start(t, name)
			addresses := strings.Fields(d.Want("ready"))
			admin, target := addresses[2], "passthrough:///"+addresses[1]
			kept, fresh := newHTTPClient(t, true), newHTTPClient(t, false)
			body, send := io.Pipe()
			slow := make(chan error, 1)
			go func() {
				_, err := post(newHTTPClient(t, false), "http://"+addresses[0]+"/begun", body)
				slow <- err
			}()
			d.Want("begun")
			stream := duplex(t, dial(t, target))
			d.Tell("report-draining")
			d.Tell("restart")
			d.Want("draining")
			wantAnswers := func() {
				for range 5 {
					wantState(t, kept, admin, "0 draining")
					wantState(t, fresh, admin, "0 draining")
				}
			}
			wantAnswers()
			if name == "several in stages" {
				dial(t, target).wantCall(t, "echo a", "a")
			}
			send.Close()
			if err, _ := testprocess.Receive(t, "answer of the slow request", slow); err != nil {
				t.Error(err)
			}
			wantAnswers() // the stream is left
			stream.CloseSend()
			if _, err := stream.Recv(); err != io.EOF {
				t.Errorf("end of the stream: %v", err)
			}
			d.NextStart()
			d.Want("ready")
			wantState(t, fresh, admin, "1 serving")
		})
	}
}
