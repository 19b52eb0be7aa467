//go:build linux

package main

import (
	"context"
	"errors"
	"testing"

	"github.com/coder/websocket"

	"github.com/autorestart-go/autorestart/examples/streams/internal/streamtest"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { daemontest.Main(m, map[string]func(){"coder": main}) }

// connect returns a client whose message was echoed.
func connect(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+address+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(ctx); string(message) != "hello" {
		t.Fatalf("%q, %v", message, err)
	}
	return conn
}

func TestEachClientGetsCloseFrame(t *testing.T) {
	d, address := streamtest.Start(t, "coder")
	for range 3 {
		reasons := []string{"retry after 0s", "retry after 2.5s", "retry after 5s", "retry after 7.5s"}
		var conns []*websocket.Conn
		for range reasons {
			conns = append(conns, connect(t, address))
		}
		ended := make(chan error, len(conns))
		for _, conn := range conns {
			go func() {
				_, _, err := conn.Read(context.Background())
				ended <- err
			}()
		}
		streamtest.WantQuickRestart(t, d)
		got := map[string]bool{}
		for range conns {
			err, _ := testprocess.Receive(t, "close frame", ended)
			var frame websocket.CloseError
			if !errors.As(err, &frame) || frame.Code != websocket.StatusServiceRestart {
				t.Errorf("%v, expected a close frame", err)
			}
			got[frame.Reason] = true
		}
		for _, reason := range reasons {
			if !got[reason] {
				t.Errorf("no close frame says %q", reason)
			}
		}
	}
}

// A client that does not answer gets a close frame, too. One that never reads is cut off.
func TestClientsHoldNothingUp(t *testing.T) {
	d, address := streamtest.Start(t, "coder")
	flood, _ := streamtest.DialWebSocket(t, address, "/echo")
	streamtest.Flood(t, flood)
	_, silent := streamtest.DialWebSocket(t, address, "/echo")
	streamtest.WantQuickRestart(t, d)
	if code, reason := streamtest.WantCloseFrame(t, silent); code != 1012 || reason != "retry after 5s" {
		t.Errorf("%d %q", code, reason)
	}
	connect(t, address).CloseNow()
	streamtest.WantQuickRestart(t, d)
	d.WantLogged("streams=2")
}
