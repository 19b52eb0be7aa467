//go:build linux

package grpcserve_test

import (
	"crypto/tls"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"

	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// TLS sessions resume after a restart, because the program calls httpserve.ResumeSessions.
func TestSessionsResumeAfterRestart(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			d := Start(t, "rpc", networkEnv+"=tcp", addressEnv+"=127.0.0.1:0", certEnv+"="+writeCertificate(t))
			target := "passthrough:///" + d.Want("ready")
			config := &tls.Config{
				InsecureSkipVerify: true, ServerName: "example", MinVersion: version, MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			wantResumed(t, target, config, false)
			for range 2 {
				d.Restart()
				d.Want("ready")
				wantResumed(t, target, config, true)
			}
		})
	}
}

// wantResumed makes a call on a new connection, which must resume a session, or not.
func wantResumed(t *testing.T, target string, config *tls.Config, want bool) {
	t.Helper()
	c, err := newClient(target, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := testprocess.WithTimeout(t.Context(), testprocess.Timeout)
	defer cancel()
	var p peer.Peer
	if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload("echo a")}, grpc.Peer(&p)); err != nil {
		t.Fatal(err)
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || info.State.DidResume != want {
		t.Errorf("TLS: %v, resumed: %v, want %v", ok, info.State.DidResume, want)
	}
}
