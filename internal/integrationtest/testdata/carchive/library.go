//go:build linux

// The library of a C program that restarts itself.
package main

import "C"

import (
	"context"

	"github.com/autorestart-go/autorestart"
)

//export Restart
func Restart() { new(autorestart.Restarter).Restart(context.Background()) }

//export Generation
func Generation() C.int { return C.int(autorestart.Generation()) }

func main() {}
