// A daemon for go build -o to deploy. It reports as the daemon of the
// integration tests does, whose next versions it can be replaced by.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/autorestart-go/autorestart"
)

var (
	version string // of this build
	poll    string // how often to look at the path; empty if events tell
)

func main() {
	const generationEnv = "AUTORESTART_TEST_GENERATION"
	generation, _ := strconv.Atoi(os.Getenv(generationEnv))
	generation++
	os.Setenv(generationEnv, strconv.Itoa(generation))
	tell := func(event string) {
		fmt.Printf(`{"Event":%q,"PID":%d,"Version":%s,"Generation":%d}`+"\n", event, os.Getpid(), version, generation)
	}
	tell("start")
	interval, _ := time.ParseDuration(poll)
	r := autorestart.Restarter{PollInterval: interval, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	go r.Run(context.Background())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		tell("state")
	}
}
