package quicserve

import (
	"testing"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/autorestarttest"
)

// All versions have the keys of stateless resets and of tokens that the first one has made. Another
// process has others.
func TestKeysCross(t *testing.T) {
	made := map[[64]byte]bool{}
	for _, process := range []string{"one", "another"} {
		t.Run(process, func(t *testing.T) {
			p := autorestarttest.NewProcess(t)
			first := joinedKeys()
			for range 2 {
				p.Restart(new(autorestart.Restarter))
				if joinedKeys() != first {
					t.Fatal("the next version has other keys")
				}
				autorestart.Ready()
			}
			if made[first] {
				t.Error("the process has the keys of the other one")
			}
			made[first] = true
		})
	}
}

func joinedKeys() (joined [64]byte) {
	reset, token := keys()
	copy(joined[:], reset[:])
	copy(joined[32:], token[:])
	return joined
}
