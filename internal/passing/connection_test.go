//go:build unix

package passing

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/handover"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// TestLend: the store hands over the descriptor that it was lent, and never closes it.
func TestLend(t *testing.T) {
	s := NewStore(new(handover.State))
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := int(f.Fd())
	for range 2 {
		s.Lend("lent", n, nil, time.Time{})
	}
	h := new(handover.State)
	if err := s.HandOver(h, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if files := h.Numbers[handover.File]; !slices.Equal(files, []int{n}) {
		t.Errorf("handed over %d, want %d", files, n)
	}
	s.Unpass("lent")
	if _, _, err := sys.Flags(n); err != nil || len(s.Names()) != 0 {
		t.Errorf("the lent descriptor: %v; names are left: %q", err, s.Names())
	}
}

// TestClaim: a connection keeps its descriptor and its state, and crosses further execs under
// its new name.
func TestClaim(t *testing.T) {
	first := NewStore(new(handover.State))
	f := pipeWith(t, "text")
	first.Lend("old", int(f.Fd()), []byte("state"), time.Now())
	second := handedOver(t, first, 0)
	if _, _, ok := second.Claim("another", "new", time.Now()); ok {
		t.Error("claimed what is not there")
	}
	fd, state, ok := second.Claim("old", "new", time.Now())
	if !ok || string(state) != "state" || fd != second.inherited.Number(handover.File) {
		t.Fatalf("claimed %d, %q, %v", fd, state, ok)
	}
	second.CloseUnclaimed()
	third := handedOver(t, second, 0)
	if names := third.Names(); !slices.Equal(names, []Name{"new"}) {
		t.Errorf("the third image inherited %q", names)
	}
	if state, ok := third.State("new"); !ok || string(state) != "state" {
		t.Errorf("state %q, %v", state, ok)
	}
	if taken, ok := second.Take("new"); !ok || taken.Int() != fd || !second.Empty() {
		t.Errorf("took %v, %v", taken, ok)
	} else {
		taken.Close()
	}
}

// TestIdlestConnectionsAreLeftOut: where there is no room for all, the program's own files and
// states cross, and the connections that were used last.
func TestIdlestConnectionsAreLeftOut(t *testing.T) {
	s := NewStore(new(handover.State))
	start := time.Now()
	const connections = 2000
	fds := make([]int, connections)
	for i := range connections {
		fds[i] = 1000 + i*7%connections // in no order
		var state []byte
		if i%10 == 0 {
			state = []byte(strings.Repeat("s", 100))
		}
		s.Lend(Name(fmt.Sprintf("connection %d", i)), fds[i], state, start.Add(time.Duration(i)))
	}
	own := pipeWith(t, "text")
	if err := s.Pass("own", own); err != nil {
		t.Fatal(err)
	}
	s.SetState("own state", make([]byte, 10_000))
	c, unlock := s.lock()
	defer unlock()
	ownFD := c.files["own"].fd.Int()
	defer c.files["own"].fd.Close()
	for _, limit := range []int{math.MaxInt, maxContent} {
		h := new(handover.State)
		b, missing := c.addRecords(h, limit, true)
		records, err := parseManifest(b)
		if err != nil || missing > 0 || len(b) > limit {
			t.Fatalf("limit %d: %d bytes, %d missing, %v", limit, len(b), missing, err)
		}
		files := h.Numbers[handover.File]
		crossed := len(files) - 1
		if !slices.IsSorted(files) || !slices.Contains(files, ownFD) || h.Number(handover.Closed) != connections-crossed {
			t.Errorf("limit %d: %d files cross, %d are closed", limit, len(files), h.Number(handover.Closed))
		}
		if limit == math.MaxInt && crossed != connections || limit == maxContent && (crossed < 100 || crossed == connections) {
			t.Errorf("limit %d: %d connections cross", limit, crossed)
		}
		states := 0
		for _, r := range records {
			if r.kind == manifestState {
				states++
			}
		}
		if want := 1 + (crossed+9)/10; states < want-1 || states > want {
			t.Errorf("limit %d: %d states cross with %d connections", limit, states, crossed)
		}
		if len(h.Expendable) != crossed || h.Expendable[crossed-1] != fds[connections-1] {
			t.Errorf("limit %d: %d expendable, the last is %d", limit, len(h.Expendable), h.Expendable[crossed-1])
		}
		if limit == maxContent { // those with a state are larger: of the others exactly the last ones
			for _, fd := range fds[connections-crossed+10:] {
				if !slices.Contains(files, fd) {
					t.Fatalf("connection %d, used recently, is left out", fd)
				}
			}
		}
	}
}
