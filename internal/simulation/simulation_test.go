package simulation

import (
	"strings"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	run := func(_ *testing.T, s *Schedule) {
		for range 10 {
			d := s.Duration(time.Hour)
			time.Sleep(d)
			s.Tracef("slept for %v", d)
		}
		switch s.Seed {
		case 2:
			s.Failf("two")
		case 3:
			panic("three")
		}
	}
	for seed, want := range []string{1: "", 2: "two", 3: "panic: three"} {
		if seed == 0 {
			continue
		}
		s := runSeed(t, uint64(seed), true, run)
		if !strings.HasPrefix(s.failure, want) || want == "" && s.failure != "" || len(s.trace) != 10 {
			t.Errorf("seed %d: %q, %q", seed, s.failure, s.trace)
		}
	}
	Repeats(t, 3, run)
}
