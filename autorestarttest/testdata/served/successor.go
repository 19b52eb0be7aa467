package main

import (
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// startSuccessor starts the program again on SIGHUP, without the library: this process executes it, or it
// becomes a child that ends this process.
func startSuccessor(by string) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	args := []string{os.Args[0], "-listen", "127.0.0.1:0"}
	go func() {
		<-hangUp
		var err error
		switch by {
		case "exec":
			err = syscall.Exec(args[0], args, os.Environ())
		case "fork":
			err = exec.Command(args[0], append(args[1:], "-replace")...).Start()
		}
		if err != nil {
			log.Panic(err)
		}
	}()
}

// replaceParent ends the parent, as a successor by fork does.
func replaceParent() {
	if err := syscall.Kill(os.Getppid(), syscall.SIGTERM); err != nil {
		log.Panic(err)
	}
}
