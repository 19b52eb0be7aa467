//go:build linux

package grpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
	"github.com/autorestart-go/autorestart/benchmarks/internal/servers"
)

// The compared servers, by what drains them.
const (
	ours         = "grpcserve"
	gracefulStop = "GracefulStop"
	nothing      = "nothing"
)

// A run is a server that is running.
type run struct {
	*servers.Process
	target  string // for clients
	reports string // the file
}

// with runs f beside a server.
func with(b *testing.B, name string, drainTimeout time.Duration, f func(*run) error) error {
	dir := servers.TempDir(b)
	reports := filepath.Join(dir, "reports")
	args := []string{"-by", name, "-report", reports, "-drain-timeout", drainTimeout.String()}
	s := &servers.Server{Name: name}
	return servers.With(s, servers.BuildProgram(b, "grpc/daemon"), dir, "tcp", args, func(p *servers.Process, address string) error {
		r := &run{p, "passthrough:///" + address, reports}
		if _, err := r.awaitReady(); err != nil {
			return err
		}
		return f(r)
	})
}

// restart deploys the next version, and returns for how long new clients wait for it.
func (r *run) restart() (took time.Duration, err error) {
	if err := r.Deploy(""); err != nil {
		return 0, err
	}
	report, err := r.awaitReady()
	if err == nil {
		err = r.CheckPID()
	}
	return report.Ready.Sub(report.Quiesced), err
}

// readyLimit is longer than a machine stands still, and than any DrainTimeout.
const readyLimit = time.Minute

// awaitReady waits until the version that was deployed last is ready.
func (r *run) awaitReady() (daemon.Report, error) {
	for start := time.Now(); time.Since(start) < readyLimit; time.Sleep(time.Millisecond) {
		content, err := os.ReadFile(r.reports)
		if err != nil && !os.IsNotExist(err) {
			return daemon.Report{}, err
		}
		if !bytes.HasSuffix(content, []byte("\n")) {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		var report daemon.Report
		if err := json.Unmarshal(lines[len(lines)-1], &report); err != nil {
			return daemon.Report{}, err
		}
		if report.Version == r.Version {
			r.Current = report.Identity
			return report, nil
		}
	}
	return daemon.Report{}, fmt.Errorf("version %d is not ready after %v", r.Version, readyLimit)
}

// A client is a stock client that does not retry.
type client struct {
	*grpc.ClientConn
	testpb.TestServiceClient
}

func newClient(target string) (client, error) {
	cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	return client{cc, testpb.NewTestServiceClient(cc)}, err
}

func payload(body string) *testpb.Payload { return &testpb.Payload{Body: []byte(body)} }
