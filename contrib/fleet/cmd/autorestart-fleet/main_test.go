//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/fleet/etcdgate"
	"github.com/autorestart-go/autorestart/contrib/fleet/internal/etcdtest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// A console calls the command for one cluster.
type console struct {
	*testing.T
	flags    []string
	password string
}

func (c *console) run(args ...string) (stdout string, err error) {
	var out, errors bytes.Buffer
	err = run(c.Context(), append(c.flags, args...), c.password, &out, &errors)
	return out.String() + errors.String(), err
}

func (c *console) want(args ...string) string {
	c.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

func gate(t *testing.T, client *clientv3.Client, member string) *etcdgate.Gate {
	g := &etcdgate.Gate{Client: client, Group: "web", Member: member, Service: "example.com/web", Max: 1, Canaries: 1}
	t.Cleanup(func() { g.Close() })
	return g
}

func acquire(t *testing.T, g *etcdgate.Gate, version string) ([]byte, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "exe")
	if err := os.WriteFile(name, []byte(version), 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	return g.Acquire(t.Context(), autorestart.Change{Path: "/srv/web", New: autorestart.BuildInfo{ID: version, Version: version}}, exe)
}

func TestCommand(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1)
	client := cluster.Client()
	c := &console{T: t, flags: []string{"-endpoints", strings.Join(cluster.Endpoints(), ",")}}
	if _, err := c.run("status", "web"); !errors.Is(err, errNoGroup) {
		t.Errorf("got %v", err)
	}

	a, b := gate(t, client, "a"), gate(t, client, "b")
	state, err := acquire(t, a, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Release(t.Context(), autorestart.GateResult{Outcome: autorestart.GateRolledBack, State: state, Err: errors.New("bad\x1b[2J\nnews")}); err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(t, b, "v1.0.0"); err == nil {
		t.Fatal("the version that has failed was not refused")
	}
	if _, err := acquire(t, a, "v2.0.0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := acquire(t, b, "v1.0.0")
		done <- err
	}()
	testprocess.WaitFor(t, "member that waits", func() bool { return strings.Contains(c.want("status", "web"), "refused") })
	host, _ := os.Hostname()
	fields := strings.Join(strings.Fields(c.want("status", "web")), " ")
	for _, want := range []string{
		"service example.com/web, max 1, canaries 1, healthy for 0s STATE MEMBER HOST VERSION SINCE restarting a " + host + " v2.0.0 (",
		" refused b " + host + " v1.0.0 (",
		" VERSION STATE CANARIES v2.0.0 (",
		") 0 of 1 canaries are healthy a! v1.0.0 (",
		") failed on " + host + " (a) at ",
		": bad [2J news",
	} {
		if !strings.Contains(fields, want) {
			t.Errorf("got %s\nwant %s", fields, want)
		}
	}
	var document struct {
		Format  int
		Waiting []struct{ Member string }
	}
	if err := json.Unmarshal([]byte(c.want("status", "web", "-json")), &document); err != nil || document.Format != 1 || len(document.Waiting) != 1 {
		t.Errorf("got %v, %+v", err, document)
	}

	c.want("set", "web", "-max", "2", "-healthy-for", "1m")
	c.want("clear", "web", "v1.0.0")
	if err := <-done; err != nil {
		t.Errorf("after clear: %v", err)
	}
	if out := c.want("status", "web"); !strings.Contains(out, "max 2, canaries 1, healthy for 1m0s") || strings.Contains(out, "failed") {
		t.Errorf("got\n%s", out)
	}
	c.want("release", "web", "a")
	if out := c.want("status", "web"); strings.Contains(out, "v2.0.0") && strings.Contains(out, "restarting  a") {
		t.Errorf("got\n%s", out)
	}
	for _, args := range [][]string{{"release", "web", "a"}, {"clear", "web", "v3"}, {"set", "web", "-max", "-1"}} {
		if _, err := c.run(args...); err == nil || !strings.HasPrefix(err.Error(), "group web: ") || errors.As(err, new(*usageError)) {
			t.Errorf("%q: got %v", args, err)
		}
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	c := &console{T: t}
	for _, args := range [][]string{
		{}, {"status"}, {"statu", "web"}, {"status", "web", "more"}, {"status", "a/b"}, {"clear", "web"}, {"release", "web"},
		{"set", "web"}, {"set", "web", "-max", "x"}, {"-unknown", "status", "web"},
	} {
		if out, err := c.run(args...); !errors.As(err, new(*usageError)) {
			t.Errorf("%q: got %v\n%s", args, err, out)
		}
	}
}

// The password of a user is no argument. A namespace comes before all keys.
func TestUserAndNamespace(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1, "--bcrypt-cost", "4") // the least: a busy machine has no time for more
	client := cluster.Client()
	if _, err := client.Put(t.Context(), "team/autorestart/web/state", `{"format": 1, "service": "s", "max": 7}`); err != nil {
		t.Fatal(err)
	}
	_, err := client.UserAdd(t.Context(), "root", "a secret")
	if err == nil {
		_, err = client.UserGrantRole(t.Context(), "root", "root")
	}
	if err == nil {
		_, err = client.AuthEnable(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{
		"-endpoints", strings.Join(cluster.Endpoints(), ","), "-namespace", "team", "-user", "root",
		"-timeout", testprocess.Timeout.String(),
	}
	for name, c := range map[string]*console{
		"variable": {T: t, flags: flags, password: "a secret"},
		"file":     {T: t, flags: append(flags, "-password-file", file)},
	} {
		if out := c.want("status", "web"); !strings.Contains(out, "max 7") {
			t.Errorf("%s: got\n%s", name, out)
		}
	}
	wrong := &console{T: t, flags: flags, password: "another secret"}
	if out, err := wrong.run("status", "web"); err == nil || strings.Contains(err.Error()+out, "secret") {
		t.Errorf("got %v\n%s", err, out)
	}
}

// Without an answer of etcd the command ends, and says why.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	c := &console{T: t, flags: []string{"-endpoints", "http://127.0.0.1:1", "-timeout", "3s"}}
	began := time.Now()
	if _, err := c.run("status", "web"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"status", "web"}, "", new(bytes.Buffer), new(bytes.Buffer)); err == nil {
		t.Error("no error after an interrupt")
	}
}
