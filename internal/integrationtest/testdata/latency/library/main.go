// A daemon that restarts by this library, with nothing left out.
package main

import (
	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/integrationtest/testdata/latency/firstline"
)

var version string // makes builds differ

func main() {
	firstline.Report()
	autorestart.RestartOnChange()
}
