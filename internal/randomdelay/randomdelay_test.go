package randomdelay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// The delays of many machines are spread evenly over the time, and so are those of many versions.
func TestDelaysAreSpread(t *testing.T) {
	const n, parts = 10_000, 10
	for name, delay := range map[string]func(i int) time.Duration{
		"machines": func(i int) time.Duration { return Of(fmt.Sprint("machine ", i), "version", time.Hour) },
		"versions": func(i int) time.Duration { return Of("machine", fmt.Sprint("version ", i), time.Hour) },
	} {
		var count [parts]int
		for i := range n {
			d := delay(i)
			if d < 0 || d >= time.Hour || d != delay(i) {
				t.Fatalf("%s: %v, then %v", name, d, delay(i))
			}
			count[d*parts/time.Hour]++
		}
		for part, c := range count {
			if c < n/parts*9/10 || c > n/parts*11/10 {
				t.Errorf("%s: %d of %d delays in tenth %d", name, c, n, part)
			}
		}
	}
}

func TestWithoutDelay(t *testing.T) {
	for _, limit := range []time.Duration{0, -time.Hour, 1} {
		if d := Of("machine", "version", limit); d != 0 {
			t.Errorf("%v with a limit of %v", d, limit)
		}
	}
}

// Machine and version count as two: no delay is that of others whose names read the same.
func TestNamesDoNotMix(t *testing.T) {
	if Of("a", "bc", time.Hour) == Of("ab", "c", time.Hour) {
		t.Error("the same delay")
	}
}

func TestContent(t *testing.T) {
	sum := func(text string) string {
		s, err := Content(strings.NewReader(text))
		if err != nil || s == "" {
			t.Fatal(err)
		}
		return s
	}
	if first := sum("one"); sum("one") != first || sum("two") == first {
		t.Error("contents are not told apart")
	}
	failed := errors.New("no disk")
	if _, err := Content(iotest.ErrReader(failed)); err != failed {
		t.Error(err)
	}
}

func TestMachineIsSteady(t *testing.T) {
	if m := Machine(); m == " " || m != Machine() {
		t.Errorf("machine %q", m)
	}
}
