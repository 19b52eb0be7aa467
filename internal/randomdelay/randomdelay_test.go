package randomdelay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestOf(t *testing.T) {
	const limit = time.Hour
	delay := Of("machine", "version", limit)
	for range 3 {
		if again := Of("machine", "version", limit); again != delay {
			t.Errorf("%v, then %v", delay, again)
		}
	}
	if other := Of("machin", "eversion", limit); other == delay {
		t.Errorf("%v, also with the border between machine and version elsewhere", other)
	}
	for _, limit := range []time.Duration{0, -1, -1 << 63} {
		if delay := Of("machine", "version", limit); delay != 0 {
			t.Errorf("%v with the limit %v", delay, limit)
		}
	}
	if delay := Of("machine", "version", 1<<63-1); delay < 0 {
		t.Errorf("%v with the longest limit", delay)
	}
}

// Names that differ in little have delays that are spread evenly, and so have the versions of one machine.
func TestSpread(t *testing.T) {
	const n, parts, limit = 10_000, 20, time.Hour
	for name, of := range map[string]func(i int) time.Duration{
		"machines": func(i int) time.Duration { return Of(fmt.Sprintf("web-%d", i), "version", limit) },
		"cloned": func(i int) time.Duration {
			return Of(strings.Repeat("0", 32)+fmt.Sprintf(" web%05d.example.org", i), "v", limit)
		},
		"versions":  func(i int) time.Duration { return Of("machine", fmt.Sprintf("v1.0.%d", i), limit) },
		"build IDs": func(i int) time.Duration { return Of("machine", fmt.Sprintf("x/y/z/%d", i), limit) },
	} {
		var count [parts]int
		for i := range n {
			delay := of(i)
			if delay < 0 || delay >= limit {
				t.Fatalf("%s: %v is out of range", name, delay)
			}
			count[delay*parts/limit]++
		}
		for part, got := range count {
			if want := n / parts; got < want*8/10 || got > want*12/10 { // 4.6 standard deviations
				t.Errorf("%s: %d of %d delays are in part %d of %d, want about %d", name, got, n, part, parts, want)
			}
		}
	}
}

func TestContent(t *testing.T) {
	sums := map[string]string{}
	for _, content := range []string{"", "a", "b", "ab", "ba", "\x00"} {
		sum, err := Content(strings.NewReader(content))
		if err != nil || sums[sum] != "" {
			t.Errorf("%q has the sum of %q, %v", content, sums[sum], err)
		}
		sums[sum] = fmt.Sprintf("%q", content)
	}
	unreadable := errors.New("unreadable")
	if _, err := Content(iotest.ErrReader(unreadable)); err != unreadable {
		t.Errorf("error %v, want %v", err, unreadable)
	}
}

func TestMachine(t *testing.T) {
	machine := Machine()
	if machine != Machine() || strings.TrimSpace(machine) == "" || strings.Contains(machine, "\n") {
		t.Errorf("machine %q, then %q", machine, Machine())
	}
}
