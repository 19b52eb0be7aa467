//go:build linux

package grpcserve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/contrib/grpcserve"
	"github.com/autorestart-go/autorestart/httpserve"
	. "github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/sockets"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func(){
		"rpc":               rpcMain,
		"several":           func() { severalMain(0) },
		"several in stages": func() { severalMain(rpcOrder) },
	})
}

const (
	networkEnv  = "AUTORESTART_TEST_NETWORK"
	addressEnv  = "AUTORESTART_TEST_ADDRESS"
	certEnv     = "AUTORESTART_TEST_CERT"     // if set, TLS with certificate and key of this name
	mutualEnv   = "AUTORESTART_TEST_MUTUAL"   // if set, clients need a certificate
	listenerEnv = "AUTORESTART_TEST_LISTENER" // "own": not of package sockets; "unready": not ready
	overlapEnv  = "AUTORESTART_TEST_OVERLAP"  // if set, Overlap
	drainEnv    = "AUTORESTART_TEST_DRAIN"    // DrainTimeout
)

// ownListener hides the methods of the listener that it embeds.
type ownListener struct{ net.Listener }

func rpcMain() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ln := Must(sockets.Listen(os.Getenv(networkEnv), os.Getenv(addressEnv)))
	address := ln.Addr()
	if os.Getenv(listenerEnv) == "own" {
		ln = ownListener{ln}
	}
	s := grpc.NewServer(serverOptions()...)
	testpb.RegisterTestServiceServer(s, testService{})
	healthpb.RegisterHealthServer(s, grpcserve.Health(health.NewServer()))
	go func() { panic(grpcserve.Serve(s, ln)) }()
	if os.Getenv(listenerEnv) != "unready" || autorestart.RolledBack() != nil {
		autorestart.Ready()
	}
	if autorestart.StandIn() {
		select {}
	}
	Say("ready", address)
	r := &autorestart.Restarter{
		Logger:       slog.Default(),
		Overlap:      os.Getenv(overlapEnv) != "",
		PollInterval: 10 * time.Millisecond,
	}
	if timeout := os.Getenv(drainEnv); timeout != "" {
		r.DrainTimeout = Must(time.ParseDuration(timeout))
	}
	calledOff := errors.New("called off")
	Obey(r, map[string]func(string){
		"drain": func(string) {
			t := autorestart.LastRestart()
			Say("drain", t.Drained.Sub(t.Quiesced))
		},
		"next": func(listener string) { // the next version is on trial
			os.Setenv(listenerEnv, listener)
			r.ReadyTimeout = time.Minute
			Say("done", "")
		},
		"fail": func(string) { Say("failed", autorestart.Rollback(nil)) },
		"restart-off": func(string) {
			r := autorestart.Restarter{BeforeExec: func(context.Context, *autorestart.ExecPlan) error { return calledOff }}
			go func() { Say("off", r.Restart(context.Background()) == calledOff) }()
		},
		"calls": func(string) { Say("done", interceptedCalls.Load()) },
	})
}

// interceptedCalls are the unary calls that the interceptor of this image has seen.
var interceptedCalls atomic.Int64

func serverOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.ChainStreamInterceptor(grpcserve.StreamServerInterceptor()),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			interceptedCalls.Add(1)
			return handler(ctx, req)
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 300 * time.Millisecond, Time: time.Second, Timeout: 10 * time.Second}),
	}
	if cert := os.Getenv(certEnv); cert != "" {
		config := &tls.Config{Certificates: []tls.Certificate{Must(tls.LoadX509KeyPair(cert+".pem", cert+".key"))}}
		if os.Getenv(mutualEnv) != "" {
			config.ClientAuth = tls.RequireAnyClientCert
		}
		if err := httpserve.ResumeSessions("rpc", config); err != nil {
			panic(err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	return options
}
