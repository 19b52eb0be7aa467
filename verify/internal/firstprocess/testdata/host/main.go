// Host opens the plugin and exits with 0 if that does not take the host for its own
// executable.
package main

import (
	"os"
	"plugin"
)

// The packages of the plugin are initialised in the first thread, as those of a program.
var own = open()

func open() func() bool {
	p, err := plugin.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	f, err := p.Lookup("Own")
	if err != nil {
		panic(err)
	}
	return f.(func() bool)
}

func main() {
	if own() {
		os.Exit(1)
	}
}
