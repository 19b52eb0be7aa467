package fleetlock_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/fleetlock"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// quiet is for errors of servers that a test provokes.
var quiet = log.New(io.Discard, "", 0)

// serve serves a handler on a socket.
func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// gateOf returns a gate that does not wait long.
func gateOf(rawURL string, log *lines) *fleetlock.Gate {
	return &fleetlock.Gate{
		URL: rawURL, Group: group, ID: "a", Logger: log,
		RetryInterval: 20 * time.Millisecond, Deadline: 100 * time.Millisecond,
	}
}

// wantLeave acquires and releases a slot.
func wantLeave(t *testing.T, g *fleetlock.Gate) {
	t.Helper()
	g.Deadline = 0 // on a busy machine, an answer takes its time
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer cancel()
	state, err := g.Acquire(ctx, change, nil)
	if err != nil {
		t.Fatalf("Acquire: %v\n%v", err, g.Logger)
	}
	if err := g.Release(ctx, autorestart.GateResult{Outcome: autorestart.GateReady, State: state}); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

// wantOutOfReach wants a rejection with a text in it, and that text in the log.
func wantOutOfReach(t *testing.T, g *fleetlock.Gate, log *lines, text string) {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer cancel()
	_, err := g.Acquire(ctx, change, nil)
	defer endAttempts(t, g)
	if rejected, ok := errors.AsType[*autorestart.RejectedError](err); !ok || !rejected.Retryable || !strings.Contains(err.Error(), text) {
		t.Errorf("Acquire: %v, want a rejection with %q", err, text)
	}
	if !strings.Contains(log.String(), text) {
		t.Errorf("the log has no %q:\n%v", text, log)
	}
}

// endAttempts ends the attempts in the background, and returns the error of Release.
func endAttempts(t *testing.T, g *fleetlock.Gate) error {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return g.Release(ctx, autorestart.GateResult{Outcome: autorestart.GateReady})
}

// URL may have a path, with a slash at its end or without.
func TestURLWithPath(t *testing.T) {
	sem := newSemaphore(t, group, 1)
	mux := http.NewServeMux()
	mux.Handle("/fleet/v1/", sem)
	s := serve(t, mux)
	for _, path := range []string{"/fleet", "/fleet/"} {
		wantLeave(t, gateOf(s.URL+path, new(lines)))
	}
	sem.wantHolding(group)
}

func TestTLS(t *testing.T) {
	sem := newSemaphore(t, group, 1)
	s := httptest.NewUnstartedServer(sem)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} // the only certificate here is one for servers
	s.Config.ErrorLog = quiet
	s.StartTLS()
	defer s.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig

	t.Run("client certificate", func(t *testing.T) {
		config := config.Clone()
		config.Certificates = s.TLS.Certificates
		g := gateOf(s.URL, new(lines))
		g.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		wantLeave(t, g)
	})
	t.Run("no client certificate", func(t *testing.T) {
		log := new(lines)
		g := gateOf(s.URL, log)
		g.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: true}}
		wantOutOfReach(t, g, log, "certificate required")
	})
	t.Run("unknown authority", func(t *testing.T) {
		log := new(lines)
		wantOutOfReach(t, gateOf(s.URL, log), log, "certificate signed by unknown authority")
	})
	t.Run("wrong name", func(t *testing.T) {
		log := new(lines)
		config := config.Clone()
		config.ServerName = "other.test"
		g := gateOf(s.URL, log)
		g.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		wantOutOfReach(t, g, log, "not other.test")
	})
	sem.wantHolding(group)
}

// No redirect is followed, whatever the client would do. The log says where it leads.
func TestRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	to := strings.Replace(other.URL, "http://", "http://user:secret@", 1) + "/path?token=secret"
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, http.RedirectHandler(to, status))
		for _, client := range []*http.Client{nil, {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}} {
			log := new(lines)
			g := gateOf(s.URL, log)
			g.Client = client
			wantOutOfReach(t, g, log, "the server redirects to "+other.URL+"/path (status ")
			wantNoSecret(t, log)
		}
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d requests have gone where the redirect leads", n)
	}
}

// A user and a password in URL reach the server, and not the log.
func TestUserInURL(t *testing.T) {
	sem := newSemaphore(t, group, 1)
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" || r.URL.RawQuery != "token=secret" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		sem.ServeHTTP(w, r)
	}))
	withUser := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "?token=secret"
	log := new(lines)
	wantLeave(t, gateOf(withUser, log))

	wrong := strings.Replace(s.URL, "http://", "http://user:secret2@", 1)
	wantOutOfReach(t, gateOf(wrong, log), log, "status 401 Unauthorized")
	s.Close()
	g := gateOf(withUser, log)
	wantOutOfReach(t, g, log, "connection refused")
	log.Warn("Release", "reason", endAttempts(t, g))
	wantNoSecret(t, log)
}

func wantNoSecret(t *testing.T, log *lines) {
	t.Helper()
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "user") {
		t.Errorf("the log has a password or a user:\n%v", log)
	}
}

// A proxy, which the environment names by default, is used. Its password does not reach the log.
func TestProxy(t *testing.T) {
	sem := newSemaphore(t, group, 1)
	proxy := serve(t, sem) // a proxy gets the same request, with the whole URL in its first line
	through := func(rawURL string, err error) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: func(*http.Request) (*url.URL, error) {
			u, parseErr := url.Parse(rawURL)
			return u, errors.Join(err, parseErr)
		}}}
	}
	g := gateOf("http://fleetlock.test", new(lines))
	g.Client = through(proxy.URL, nil)
	wantLeave(t, g)

	log := new(lines)
	g = gateOf("http://fleetlock.test", log)
	g.Client = through("", errors.New(`invalid proxy address "http://user:secret@proxy": x`))
	wantOutOfReach(t, g, log, "an error that is not shown")
	if text := log.String(); strings.Contains(text, "secret") {
		t.Errorf("the log has a password:\n%s", text)
	}
}

// A server that sends more than an answer is not read to the end.
func TestHugeAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"body": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<16))
			}
		}, "status 500 Internal Server Error, without an error of a FleetLock server"},
		"header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
		}, "server response headers exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(lines)
			wantOutOfReach(t, gateOf(serve(t, tt.answer).URL, log), log, tt.want)
		})
	}
}

// A body that does not end does not hold up leave for long: the status says it.
func TestAnswerWithoutEnd(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // otherwise its context does not end with the connection
		w.Write(make([]byte, 1<<16))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	wantLeave(t, gateOf(s.URL, new(lines)))
}
