package main

import (
	"log"
	"time"
)

// fault is what a version of the demo does before it is ready: "panic", "hang", "slow" or "fatal".
// It is set by -ldflags.
var fault string

const slowStart = time.Second

func misbehave() {
	switch fault {
	case "panic":
		panic("this version has a fault")
	case "hang":
		select {}
	case "slow":
		time.Sleep(slowStart)
	case "fatal":
		log.Fatal("this version has a fault")
	}
}
