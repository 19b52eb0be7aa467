//go:build linux && !autorestart_portable

package overlap

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/daemontest"
)

// fileGate waits until the test allows "leave" or "refuse" for a version.
type fileGate struct {
	dir    string
	logger *slog.Logger
}

func (g fileGate) Acquire(ctx context.Context, _ autorestart.Change, exe *os.File) ([]byte, error) {
	version := strconv.Itoa(daemontest.VersionOf(exe))
	g.logger.Info("asked for " + version)
	answer := make(chan string, 2)
	for _, word := range []string{"leave", "refuse"} {
		go func() { // which ends with the process
			await(g.dir, word, version)
			answer <- word
		}()
	}
	select {
	case word := <-answer:
		if word == "refuse" {
			return nil, errors.New("not this one")
		}
		return []byte("for " + version), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (g fileGate) Release(_ context.Context, r autorestart.GateResult) error {
	g.logger.Info("told: " + r.Outcome.String() + " " + string(r.State))
	return nil
}

// TestGateIsAskedForNewer: each version that gets a stand-in has leave. The version that is executed is the one
// that has it.
func TestGateIsAskedForNewer(t *testing.T) {
	for name, test := range map[string]struct {
		newer   int
		leave   string
		serves  int // at last
		asked   int // times for version 2
		another string
	}{
		"with leave": {3, "leave", 3, 1, ""},
		"refused":    {3, "refuse", 2, 1, "a version that the Gate has refused (not this one)"},
		"failing":    {exits, "leave", 2, 2, "a version that has failed as a stand-in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, true, drainEnv+"=1m", gateEnv+"=1")
			s.awaitServing(1)
			s.allow("ready", "stand-in", "2")
			s.hold("slow")
			s.write(2)
			s.wantLogged("asked for 2")
			s.mustGet("/")
			s.allow("leave", "2")
			s.await(2, true)
			s.write(test.newer)
			s.wantLogged("asked for " + strconv.Itoa(test.newer))
			s.mustGet("/")
			s.allow(test.leave, strconv.Itoa(test.newer))
			if test.another != "" {
				s.wantLogged(test.another)
			} else {
				s.allow("ready", "stand-in", strconv.Itoa(test.newer))
				s.await(test.newer, true)
			}
			s.allow("ready", "main", strconv.Itoa(test.serves))
			s.allow("slow")
			s.await(test.serves, false)
			s.wantLogged("told: ready for " + strconv.Itoa(test.serves))
			if n := strings.Count(s.logged(), "asked for 2"); n != test.asked {
				t.Errorf("asked %d times for version 2, want %d", n, test.asked)
			}
			s.wantAlone()
		})
	}
}
