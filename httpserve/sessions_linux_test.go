package httpserve_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/image/imagetest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// A tlsClient makes a new connection for each request, and keeps its ticket.
type tlsClient struct {
	*http.Client
	t       *testing.T
	address string
}

func newTLSClient(t *testing.T, address string, version uint16, http2 bool) *tlsClient {
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: "example", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &tlsClient{&http.Client{Transport: transport}, t, address}
}

// want sends a request. Its connection must resume the session, or not. It returns the state of
// the connection.
func (c *tlsClient) want(generation string, resumed bool) *tls.ConnectionState {
	c.t.Helper()
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + c.address + "/generation")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != generation || err != nil {
		c.t.Errorf("answer %q, %v; want %s", b, err, generation)
	}
	if resp.TLS.DidResume != resumed {
		c.t.Errorf("generation %s: resumed: %v, want %v", generation, resp.TLS.DidResume, resumed)
	}
	return resp.TLS
}

// Sessions resume in each next version, which presents the certificate that it has read.
func TestSessionsResumeAfterRestart(t *testing.T) {
	cert := writeCertificate(t)
	d, address := startWeb(t, certEnv+"="+cert)
	var clients []*tlsClient
	for _, http2 := range []bool{false, true} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := newTLSClient(t, address, version, http2)
			state := c.want("0", false)
			if wantProtocol := map[bool]string{false: "", true: "h2"}[http2]; state.Version != version || state.NegotiatedProtocol != wantProtocol {
				t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
			}
			clients = append(clients, c)
		}
	}
	old := newTLSClient(t, address, 0, true).want("0", false).PeerCertificates[0]
	renewed := writeCertificate(t)
	for _, extension := range []string{".pem", ".key"} {
		if err := os.Rename(renewed+extension, cert+extension); err != nil {
			t.Fatal(err)
		}
	}
	for _, generation := range []string{"1", "2"} {
		d.Restart()
		d.Want("ready")
		for _, c := range clients {
			c.want(generation, imagetest.SecretsCross())
		}
		if state := newTLSClient(t, address, 0, true).want(generation, false); state.PeerCertificates[0].Equal(old) {
			t.Errorf("generation %s presents the old certificate", generation)
		}
	}
}

// Tickets of a version that is rolled back work in the version before.
func TestSessionsResumeAfterRollback(t *testing.T) {
	if !handover.CanRollBack || !imagetest.SecretsCross() {
		t.Skip("no rollback on this system, or no keys that cross")
	}
	d, address := startWeb(t, certEnv+"="+writeCertificate(t))
	before, late := newTLSClient(t, address, tls.VersionTLS13, true), newTLSClient(t, address, tls.VersionTLS12, true)
	before.want("0", false)
	d.Ask("next unready", "done")
	d.Restart()
	d.Want("ready")
	before.want("1", true)
	late.want("1", false)
	d.Tell("fail")
	d.NextStart() // of the version before
	d.Want("ready")
	before.want("2", true)
	late.want("2", true)
}

// If only a version that is rolled back had a key, its tickets lead to a full handshake.
func TestTicketOfUnknownKey(t *testing.T) {
	if !handover.CanRollBack {
		t.Skip("no rollback on this system")
	}
	d, address := startWeb(t, certEnv+"="+writeCertificate(t))
	d.Ask("next unready", "done")
	d.Restart()
	d.Want("ready")
	clients := []*tlsClient{newTLSClient(t, address, tls.VersionTLS13, true), newTLSClient(t, address, tls.VersionTLS12, false)}
	for _, c := range clients {
		c.want("1", false)
	}
	d.Tell("fail")
	d.NextStart()
	d.Want("ready")
	for _, c := range clients {
		c.want("2", false)
		c.want("2", true)
	}
}

func TestSessionsResumeAfterRestartIsCalledOff(t *testing.T) {
	d, address := startWeb(t, certEnv+"="+writeCertificate(t))
	c := newTLSClient(t, address, tls.VersionTLS13, true)
	c.want("0", false)
	d.Ask("restart-off", "before")
	d.Ask("continue", "off")
	c.want("0", true)
}

// sessionCommands say what the keys of the daemon are, and start children.
func sessionCommands() map[string]func(string) {
	startChild := func() { Must(0, exec.Command("sleep", "60").Start()) }
	return map[string]func(string){
		"keys": func(string) {
			var keys []string
			for _, value := range image.Current().Store.Secrets() {
				keys = append(keys, hex.EncodeToString(value[len(value)-32:]))
			}
			Say("keys", strings.Join(keys, " "))
		},
		"child": func(string) {
			startChild()
			Say("done", "")
		},
		"children": func(string) {
			go func() {
				for range 1000 { // the exec ends it
					startChild()
				}
			}()
			Say("done", "")
		},
	}
}

// childrenOf returns the PIDs of the children of a process, which end with the test.
func childrenOf(t *testing.T, parent int) (pids []int) {
	for _, status := range testprocess.Glob(t, "/proc/[0-9]*/status") {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(status)))
		b, _ := os.ReadFile(status) // it may have ended
		if bytes.Contains(b, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) {
			pids = append(pids, pid)
			t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
		}
	}
	return pids
}

// holders returns the files of a process in /proc that contain one of the keys.
func holders(pid int, keys string) (found []string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	files, _ := filepath.Glob(dir + "fd/*")
	for _, name := range append(files, dir+"environ", dir+"cmdline") {
		target, _ := os.Readlink(name)
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for key := range strings.FieldsSeq(keys) {
			if raw, _ := hex.DecodeString(key); bytes.Contains(b, raw) || bytes.Contains(b, []byte(key)) {
				found = append(found, name+" "+target)
			}
		}
	}
	return found
}

// Keys are in a memfd during the exec, which no child inherits, and in no other file. Where there
// is none, they are nowhere.
func TestTicketKeysAreInMemoryOnly(t *testing.T) {
	dir := t.TempDir()
	d, address := startWeb(t, certEnv+"="+writeCertificate(t), "TMPDIR="+dir)
	newTLSClient(t, address, 0, true).want("0", false)
	keys := d.Ask("keys", "keys")
	if len(keys) != 64 {
		t.Fatalf("keys %q", keys)
	}
	d.Ask("child", "done")
	d.Ask("children", "done")
	var inExec, tempFiles []string
	wait := AtExec(t, d.PID(), func() {
		inExec = holders(d.PID(), keys)
		tempFiles, _ = filepath.Glob(dir + "/*")
	})
	d.Restart()
	wait()
	d.Want("ready")
	d.Ask("child", "done")
	want := 0
	if imagetest.SecretsCross() {
		want = 1
	}
	if len(inExec) != want || want > 0 && !strings.Contains(inExec[0], " /memfd:autorestart") || len(tempFiles) > 0 {
		t.Errorf("in the exec, the keys are in %q; temporary files %q", inExec, tempFiles)
	}
	WaitFor(t, "end of the memfd", func() bool { return len(holders(d.PID(), keys)) == 0 })
	children := childrenOf(t, d.PID())
	t.Logf("%d children", len(children))
	if len(children) < 2 { // the one from before, and the one of the next version
		t.Errorf("%d children", len(children))
	}
	for _, pid := range children {
		if found := holders(pid, keys); len(found) > 0 {
			t.Errorf("child %d has the keys in %q", pid, found)
		}
	}
	if again := d.Ask("keys", "keys"); want > 0 && again != keys || want == 0 && again != "" {
		t.Errorf("the keys are %q after the restart", again)
	}
}
