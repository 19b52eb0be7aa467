// Package etcdtest starts clusters of etcd for tests. Each node is a process of Debian's etcd-server. All
// connections to a node go through proxies, which can hold them up.
package etcdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A Cluster is some nodes of etcd.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// A Node is one node of a Cluster.
type Node struct {
	Endpoint string // of clients

	t       testing.TB
	args    []string
	log     testprocess.Log
	cmd     *exec.Cmd
	exited  chan struct{}
	proxies []*Proxy // to the address of clients, and to that of other nodes
}

// Start starts a cluster, with further flags. It ends with the test. It skips the test where there is no
// etcd.
func Start(t testing.TB, nodes int, flags ...string) *Cluster {
	t.Helper()
	testprocess.NeedTool(t, "etcd")
	c := &Cluster{t: t}
	scheme := "http"
	if strings.Contains(strings.Join(flags, " "), "--cert-file") {
		scheme = "https"
	}
	network := Loopback()
	heartbeat, election := "100", "1000"
	if nodes == 1 {
		heartbeat, election = "10", "100" // it elects itself
	}
	var peers []string
	for i := range nodes {
		host := fmt.Sprintf("%s.%d", network, 1+i)
		client, peer := NewProxy(t, host+":2379"), NewProxy(t, host+":2380")
		n := &Node{Endpoint: scheme + "://" + client.Address(), t: t, proxies: []*Proxy{client, peer}}
		name, peerURL := fmt.Sprint("node", i), "http://"+peer.Address()
		peers = append(peers, name+"="+peerURL)
		n.args = append([]string{
			"--name", name, "--data-dir", filepath.Join(testprocess.MemoryDir(t), "data"),
			"--listen-client-urls", scheme + "://" + host + ":2379", "--advertise-client-urls", n.Endpoint,
			"--listen-peer-urls", "http://" + host + ":2380", "--initial-advertise-peer-urls", peerURL,
			"--heartbeat-interval", heartbeat, "--election-timeout", election, "--logger", "zap", "--log-level", "warn",
		}, flags...)
		c.Nodes = append(c.Nodes, n)
	}
	for _, n := range c.Nodes {
		n.args = append(n.args, "--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new")
		n.Run()
	}
	t.Cleanup(func() {
		for _, n := range c.Nodes {
			n.Kill()
			if t.Failed() && testing.Verbose() {
				t.Logf("%s has logged:\n%s", n.Endpoint, n.log.String())
			}
		}
	})
	return c
}

// Loopback returns the first three numbers of addresses of this machine at which no other process listens.
func Loopback() string { return fmt.Sprintf("127.%d.%d", 1+rand.N(254), rand.N(256)) }

// Endpoints returns the endpoints of all nodes.
func (c *Cluster) Endpoints() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.Endpoint)
	}
	return all
}

// Config returns the configuration of a client.
func (c *Cluster) Config() clientv3.Config {
	return clientv3.Config{
		Endpoints: c.Endpoints(), DialTimeout: 2 * time.Second,
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
		Logger: zap.NewNop(),
	}
}

// Client returns a client. It waits until the cluster has elected a leader.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(c.Config())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	c.Await(client)
	return client
}

// Direct returns a client that reaches a node without a proxy.
func (c *Cluster) Direct(node int) *clientv3.Client {
	c.t.Helper()
	config := c.Config()
	config.Endpoints = []string{c.Nodes[node].proxies[0].target}
	client, err := clientv3.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// Await waits until a client gets answers.
func (c *Cluster) Await(client *clientv3.Client) {
	c.t.Helper()
	testprocess.WaitFor(c.t, "answer of etcd", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := client.Get(ctx, "key")
		return err == nil
	})
}

// Run starts the process of a node. A node that was killed has the data that it had.
func (n *Node) Run() {
	n.t.Helper()
	n.cmd = exec.Command("etcd", n.args...)
	n.cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd, started, exited := n.cmd, make(chan error), make(chan struct{})
	n.exited = exited
	go func() {
		defer close(exited)
		runtime.LockOSThread() // at whose end the signal comes: that of the test binary, also if its time is up
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		n.t.Fatal(err)
	}
}

// Kill kills the process with SIGKILL.
func (n *Node) Kill() {
	n.cmd.Process.Kill()
	<-n.exited
}

// Pause stops the process, and Continue continues it.
func (n *Node) Pause()    { n.cmd.Process.Signal(syscall.SIGSTOP) }
func (n *Node) Continue() { n.cmd.Process.Signal(syscall.SIGCONT) }

// CutOff holds up what clients and other nodes send to the node, and the answers. Nothing is refused or
// reset. Reconnect delivers it.
func (n *Node) CutOff() {
	for _, p := range n.proxies {
		p.Hold()
	}
}

// HoldAnswers holds up the answers to clients, and not their requests.
func (n *Node) HoldAnswers() { n.proxies[0].hold(answers) }

// LoseAnswers closes the connections of clients, with the answers that are held up.
func (n *Node) LoseAnswers() { n.proxies[0].Reset() }

func (n *Node) Reconnect() {
	for _, p := range n.proxies {
		p.Release()
	}
}
