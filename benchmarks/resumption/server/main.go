//go:build linux

// Command server is one of the servers of package resumption. Its arguments are the name of the
// server, the address, and the path of a certificate and its key without .pem and .key.
//
// The server restarts at a SIGHUP. It prints a line when it listens.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/httpserve"
	"github.com/autorestart-go/autorestart/sockets"
)

func main() {
	serve := map[string]func(address, cert string) error{"autorestart": serveOurs, "net/http": servePlain}
	panic(serve[os.Args[1]](os.Args[2], os.Args[3]))
}

func serveOurs(address, cert string) error {
	ln, err := sockets.Listen("tcp", address)
	if err != nil {
		return err
	}
	onHangup(func() error { return new(autorestart.Restarter).Restart(context.Background()) })
	autorestart.Ready()
	fmt.Println("ready")
	return httpserve.ServeTLS(new(http.Server), ln, cert+".pem", cert+".key")
}

func servePlain(address, cert string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	onHangup(func() error { return syscall.Exec("/proc/self/exe", os.Args, os.Environ()) })
	fmt.Println("ready")
	return new(http.Server).ServeTLS(ln, cert+".pem", cert+".key")
}

func onHangup(restart func() error) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		<-hangup
		log.Print(restart())
	}()
}
