//go:build linux

package overlap

import "time"

// windowSize is the length of a window.
const windowSize = 200 * time.Millisecond

// A window is a time in which requests are looked at.
type window struct{ from, to time.Time }

// around returns the window around a change.
func around(at time.Time) window { return window{at.Add(-windowSize / 2), at.Add(windowSize / 2)} }

func (w window) overlaps(v window) bool { return w.from.Before(v.to) && v.from.Before(w.to) }

// touches reports whether a window overlaps one of the others.
func (w window) touches(others []window) bool {
	for _, v := range others {
		if w.overlaps(v) {
			return true
		}
	}
	return false
}

// quiet returns n windows in a time, none of which overlaps one around a change. They are spread
// evenly. If there are not so many, it returns all.
func quiet(in window, changes []window, n int) (chosen []window) {
	var all []window
	for w := (window{in.from, in.from.Add(windowSize)}); !w.to.After(in.to); {
		if w.touches(changes) {
			w = window{w.from.Add(windowSize / 10), w.to.Add(windowSize / 10)}
			continue
		}
		all = append(all, w)
		w = window{w.to, w.to.Add(windowSize)}
	}
	if len(all) <= n {
		return all
	}
	for i := range n {
		chosen = append(chosen, all[(2*i+1)*len(all)/(2*n)])
	}
	return chosen
}

// A request was sent by one of the clients.
type request struct {
	began time.Time
	took  time.Duration
}

func (r request) window() window { return window{r.began, r.began.Add(r.took)} }

// slowestIn returns how long the slowest of the requests took that were under way in one of the
// windows, and in none of those of without.
func slowestIn(windows, without []window, requests []request) (slowest time.Duration) {
	for _, r := range requests {
		if w := r.window(); r.took > slowest && w.touches(windows) && !w.touches(without) {
			slowest = r.took
		}
	}
	return slowest
}
