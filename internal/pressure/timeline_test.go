//go:build linux && !autorestart_portable

package pressure

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"
)

// A loss is a request that was not answered, or a datagram.
type loss struct {
	kind          string
	client        int
	request       int
	began, failed time.Time
	before, after int // generations that have answered the same client; 0 if none
	err           error
}

func (l loss) idleDead() bool { return errors.Is(l.err, errDead) }

// A timeline is what the server has gone through.
type timeline struct {
	deployed []time.Time // by version, from 1 on
	images   []image
}

// describe tells which requests were lost, and what the server did meanwhile.
// Requests that were lost at the same moment stand together.
func (tl *timeline) describe(lost []loss) (reports []string) {
	const moment = 20 * time.Millisecond
	for len(lost) > 0 {
		n := 1
		for n < len(lost) && lost[n].failed.Sub(lost[0].failed) < moment {
			n++
		}
		reports = append(reports, describeLosses(lost[:n])+tl.around(lost[0].failed))
		lost = lost[n:]
	}
	return reports
}

func describeLosses(lost []loss) string {
	const shown = 8
	var b strings.Builder
	fmt.Fprintf(&b, "lost at %s:\n", lost[0].failed.Format("15:04:05.000000"))
	for i, l := range lost {
		if i == shown {
			fmt.Fprintf(&b, "\tand %d more\n", len(lost)-shown)
			break
		}
		fmt.Fprintf(&b, "\t%s, client %d, request %d, begun %s, failed %s; answered before by generation %d, after by %d: %v\n",
			l.kind, l.client, l.request, millis(l.began.Sub(lost[0].failed)), millis(l.failed.Sub(lost[0].failed)), l.before, l.after, l.err)
	}
	return b.String()
}

// around tells what the server did around a moment.
func (tl *timeline) around(moment time.Time) string {
	const margin = 50 * time.Millisecond
	var b strings.Builder
	for n, i := range tl.images {
		if i.Times.Seen.After(moment.Add(margin)) || n+1 < len(tl.images) && tl.images[n+1].Times.Started.Before(moment.Add(-margin)) {
			continue
		}
		fmt.Fprintf(&b, "\tgeneration %d: version %d was deployed %s", i.Generation, i.Version, millis(tl.deployed[i.Version].Sub(moment)))
		for _, step := range i.steps() {
			if step.at.IsZero() {
				fmt.Fprintf(&b, ", never %s", step.name)
			} else {
				fmt.Fprintf(&b, ", %s %s", step.name, millis(step.at.Sub(moment)))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

type step struct {
	name string
	at   time.Time
}

func (i image) steps() []step {
	t := i.Times
	return []step{
		{"seen", t.Seen}, {"judged", t.Judged}, {"quiesced", t.Quiesced}, {"drained", t.Drained},
		{"executed", t.Executed}, {"started", t.Started}, {"ready", t.Ready},
	}
}

// replacedEarly returns how many images were replaced before they had said that they were
// ready.
func (tl *timeline) replacedEarly() (n int) {
	for _, i := range tl.images {
		if i.Times.Ready.IsZero() {
			n++
		}
	}
	return n
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%+.1f ms", float64(d)/float64(time.Millisecond))
}

// A histogram counts durations in classes of about 6 %.
type histogram struct {
	classes [64 * classesPerDoubling]int
	n       int
	slowest time.Duration
}

const classesPerDoubling = 16

func (h *histogram) add(d time.Duration) {
	d = max(d, 1)
	h.n++
	h.slowest = max(h.slowest, d)
	h.classes[class(d)]++
}

func class(d time.Duration) int {
	doubling := bits.Len64(uint64(d)) - 1
	return doubling*classesPerDoubling + int(uint64(d)<<(63-doubling)<<1>>60)
}

func (h *histogram) merge(other *histogram) {
	h.n += other.n
	h.slowest = max(h.slowest, other.slowest)
	for i, n := range other.classes {
		h.classes[i] += n
	}
}

// quantile returns a duration that the part q of all does not exceed, to about 6 %.
func (h *histogram) quantile(q float64) time.Duration {
	rest := int(q * float64(h.n))
	for i, n := range h.classes {
		if rest -= n; rest <= 0 && n > 0 {
			doubling, part := i/classesPerDoubling, i%classesPerDoubling
			return min(h.slowest, time.Duration((1+float64(part+1)/classesPerDoubling)*float64(uint64(1)<<doubling)))
		}
	}
	return h.slowest
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 500 * time.Millisecond}, {0.99, 990 * time.Millisecond}, {1, time.Second}} {
		if got := h.quantile(tt.q); got < tt.want || float64(got) > 1.07*float64(tt.want) {
			t.Errorf("quantile %v is %v, want about %v", tt.q, got, tt.want)
		}
	}
	if h.slowest != time.Second {
		t.Errorf("the slowest is %v", h.slowest)
	}
}
