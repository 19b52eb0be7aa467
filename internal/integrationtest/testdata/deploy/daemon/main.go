// A daemon for go build -o to deploy. It reports as the daemon of the integration
// tests does, versions of which can replace it.
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
		status := fmt.Sprintf(`{"PID":%d,"Version":%s,"Generation":%d}`, os.Getpid(), version, generation)
		fmt.Printf("%s %q\n", event, status)
	}
	tell("start")
	interval, _ := time.ParseDuration(poll)
	r := autorestart.Restarter{PollInterval: interval, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	go r.Run(context.Background())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		tell("state")
	}
}
