//go:build linux

package program

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/image"
)

// passingCommands are those about files and state that cross the exec.
var passingCommands = map[string]func(argument string) string{
	// pass NAME TEXT passes on a pipe with a text in it.
	"pass": func(argument string) string {
		name, text, _ := strings.Cut(argument, " ")
		r, w, err := os.Pipe()
		if err != nil {
			return err.Error()
		}
		defer r.Close()
		defer w.Close()
		if _, err := w.WriteString(text); err != nil {
			return err.Error()
		}
		return fmt.Sprint(autorestart.Pass(name, r))
	},
	"unpass": func(name string) string {
		autorestart.Unpass(name)
		return ""
	},
	// inherit NAME reads what is in the pipe.
	"inherit": func(name string) string {
		f, err := autorestart.Inherited(name)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		b := make([]byte, 100)
		n, err := f.Read(b)
		return fmt.Sprintf("%s, %v", b[:n], err)
	},
	"unclaimed-timeout": func(d string) string {
		timeout, err := time.ParseDuration(d)
		image.Current().Store.ShortenTimer(timeout)
		return fmt.Sprint(err)
	},
	"names":       func(string) string { return strings.Join(autorestart.InheritedFiles(), " ") },
	"count-names": func(string) string { return strconv.Itoa(len(autorestart.InheritedFiles())) },
	// pass-many N passes a file on under N names.
	"pass-many": func(argument string) string {
		n, err := strconv.Atoi(argument)
		for i := 0; i < n && err == nil; i++ {
			err = autorestart.Pass(fmt.Sprint("many ", i), os.Stdin)
		}
		return fmt.Sprint(err)
	},
	// relisten NAME stops passing a listener on, and listens there again.
	"relisten": func(name string) string {
		ln, err := net.Listen("tcp", "127.77.0.1:0") // no client elsewhere gets its port meanwhile
		if f, inheritErr := autorestart.Inherited(name); inheritErr == nil {
			ln.Close()
			ln, err = net.FileListener(f)
			f.Close()
		}
		if err != nil {
			return err.Error()
		}
		autorestart.Unpass(name)
		ln.Close()
		if ln, err = net.Listen("tcp", ln.Addr().String()); err != nil {
			return err.Error()
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		return fmt.Sprint(autorestart.Pass(name, f))
	},

	"set-state": func(argument string) string {
		name, value, _ := strings.Cut(argument, " ")
		autorestart.SetState(name, []byte(value))
		return ""
	},
	"set-big-state": func(argument string) string {
		name, size, _ := strings.Cut(argument, " ")
		n, err := strconv.Atoi(size)
		autorestart.SetState(name, bytes.Repeat([]byte{'x'}, n))
		return fmt.Sprint(err)
	},
	"get-state": func(name string) string {
		value, ok := autorestart.State(name)
		if len(value) > 100 {
			return fmt.Sprint(len(value), " bytes")
		}
		return fmt.Sprintf("%s, %t", value, ok)
	},
}
