//go:build linux

package program

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// lent are the files that the store is lent.
var lent []*os.File

func lend(name string, f *os.File) {
	lent = append(lent, f)
	if err := image.Current().Store.Lend(passing.ProgramName(name), int(f.Fd()), nil, time.Now()); err != nil {
		panic(err)
	}
}

// lending are the commands for connections that belong to the daemon.
var lending = map[string]func(argument string) string{
	// accept NAME accepts a connection at the address that is the answer, says so, and lends
	// it to the store.
	"accept": func(name string) string {
		ln := daemontest.Must(net.Listen("tcp", "127.0.0.1:0")).(*net.TCPListener)
		go func() {
			conn := daemontest.Must(ln.AcceptTCP())
			ln.Close()
			lend(name, daemontest.Must(conn.File()))
			conn.Close()
			daemontest.Say("accepted", name)
		}()
		return ln.Addr().String()
	},
	// take-and-lend NAME takes an inherited connection, as a server that goes on with it.
	"take-and-lend": func(name string) string {
		fd, ok := image.Current().Store.Take(passing.ProgramName(name))
		if !ok {
			return "not there"
		}
		lend(name, fd.File(name))
		return ""
	},
	// answer NAME reads a line of an inherited connection and answers it.
	"answer": func(name string) string {
		f, err := autorestart.Inherited(name)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		line, err := bufio.NewReader(f).ReadString('\n')
		fmt.Fprintln(f, "answer to", line)
		return fmt.Sprint(line, ", ", err)
	},
}
