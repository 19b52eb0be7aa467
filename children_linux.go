//go:build !autorestart_portable

package autorestart

import (
	"errors"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// How the children of this process are listed. Kinship itself is never taken
// from a file: waitid(2) says whether a PID is a child of ours, and everything
// listed is put to that test before it is signalled.
const (
	byNobody   = "no children"
	byChildren = "/proc/self/task/*/children"
	byParent   = "/proc/*/stat"
	byProbing  = "waitid"
)

// listInherited runs before main. A program that has no children pays for two
// system calls, and one that has been executed by its earlier image for five.
func listInherited() *inheritance {
	h := &inheritance{by: byNobody, since: startTick()}
	if haveNoChildren() {
		return h
	}
	// After an exec all children are listed with the leader, whichever thread
	// made them, and nobody waits for one of them while this is read. An empty
	// list contradicts what the kernel has just said, and one that begins or ends
	// with a stranger is not to be believed either.
	pids, err := readChildren(unix.Getpid())
	if err == nil && len(pids) > 0 && isOurs(pids[0]) && isOurs(pids[len(pids)-1]) {
		h.free, h.by = pids, byChildren
	} else {
		h.free, h.by, h.err = listWithoutChildrenFile(func() int { return probeLimit(unix.Getpid(), latestPID()) })
	}
	h.all = slices.Clip(h.free)
	return h
}

func isOurs(pid int) bool { return peekChild(pid) != waitNotOurs }

// listWithoutChildrenFile finds the children among all processes or, if even those
// can't be listed, among the PIDs below a limit.
func listWithoutChildrenFile(limit func() int) (pids []int, by string, err error) {
	if procIsOurs() {
		if all, err := readNumbered("/proc"); err == nil {
			return childrenByParent(all), byParent, nil
		}
	}
	pids, err = probeChildren(limit())
	return pids, byProbing, err
}

// childrenByParent picks our children out of the given processes. waitid is
// asked before the stat file is read, at a tenth of the price; the file tells
// a child from a process that is only traced by us.
func childrenByParent(all []int) []int {
	var pids []int
	buf := make([]byte, statSize)
	self := unix.Getpid()
	for _, pid := range all {
		if peekChild(pid) == waitNotOurs {
			continue
		}
		if s, err := readStat(pid, buf); err == nil && s.parent != self {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

const (
	smallPIDMax = 32768   // the usual pid_max, and the largest on 32-bit kernels
	largePIDMax = 4194304 // the largest on 64-bit kernels
)

// probeChildren asks waitid for one PID after the other. That takes 10 ms for
// the usual range, and over a second for the largest.
func probeChildren(limit int) ([]int, error) {
	var pids []int
	for pid := 1; pid < limit; pid++ {
		if peekChild(pid) != waitNotOurs {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		// There are children, or nobody would have asked for them.
		return nil, &os.SyscallError{Syscall: "waitid", Err: errors.ErrUnsupported}
	}
	return pids, nil
}

// probeLimit returns the end of the range in which the children of a process
// can be: they have been given their PIDs between its own and the latest. That
// PIDs have begun again shows only if the latest is below its own.
func probeLimit(self, latest int) int {
	switch {
	case self >= smallPIDMax && latest < self: // begun again
		return largePIDMax
	case latest >= smallPIDMax:
		return latest + 1
	default:
		return smallPIDMax
	}
}

// latestPID returns a PID given out after those of all inherited children: that
// of a thread which this image has started. During package initialisation no
// goroutine but the one that runs it is on the main thread.
func latestPID() int {
	c := make(chan int)
	go func() { c <- unix.Gettid() }()
	return <-c
}

// own returns those of the listed children that this image has started: before
// this package was initialised, by the initialisation of another. Without /proc
// that can't be said of any.
func (h *inheritance) own() []int {
	if len(h.all) == 0 || !procIsOurs() {
		return nil
	}
	image := h.imageStart()
	var own []int
	var buf [statSize]byte
	for _, pid := range slices.Backward(h.all) {
		s, err := readStat(pid, buf[:])
		switch {
		case err != nil: // gone
		case startedAfter(h.thread, image, pid, s.start):
			own = append(own, pid)
		case h.by == byChildren: // in the order in which they came to this process
			return own
		}
	}
	return own
}

// startedAfter reports whether a process comes after a thread, which was started at
// the tick image. In that tick, the one whose PID was given out later does: after
// the other's, or if PIDs have begun again, far below it.
func startedAfter(thread int, image uint64, pid int, start uint64) bool {
	if start != image || thread == 0 {
		return start > image
	}
	const inOneTick = smallPIDMax / 4 // more than can be given out
	after := pid - thread
	return after > 0 && after < inOneTick || after < -inOneTick
}

// The PID of an inherited child can come back as another child of this process
// if something here has waited for it, as a wait4(-1) would. Then it is younger
// than this image.

// mayBeReused reports whether that could show, for an image started at the given
// tick: within one, of 10 ms, the kernel doesn't get through all PIDs.
func mayBeReused(start uint64) bool { return startTick() != start }

// notReused tells for each PID of a listing, in its order, whether it is certain
// still to be the process listed, as far as that can be said without looking at
// each one: a look at a stat file costs four times what waiting for a zombie does.
// If begin is true, it reads only the beginning of the kernel's list, and tells
// of the PIDs that come before the end of that.
//
// The kernel appends to the list of children, so that in the leader's list the
// inherited ones come first, in the order of the listing. If the last one there
// is older than this image, so is everything in front of it.
func notReused(pids []int, image uint64, begin bool) []bool {
	sure := make([]bool, len(pids))
	var present []int
	var err error
	if begin {
		present, err = firstChildren(unix.Getpid())
	} else {
		present, err = readChildren(unix.Getpid())
	}
	if err != nil {
		present = nil
	}
	seen := 0
	for i, pid := range pids {
		if len(present) > 0 && present[0] == pid {
			present = present[1:]
			sure[i] = true
			seen = i + 1
		}
	}
	var buf [statSize]byte
	for i, pid := range slices.Backward(pids) {
		if !sure[i] {
			continue
		}
		if s, err := ourStat(pid, buf[:]); err == nil && s.start <= image {
			break
		}
		sure[i] = false
	}
	if begin {
		return sure[:seen]
	}
	return sure
}

// fewLiving is fewer children than there are in what firstChildren returns of a
// long list. While no more are left of those that have been asked, its beginning
// shows others each time; to read all of it at once takes longer, because for
// each page the kernel goes through all that comes before.
const fewLiving = 200

// identify returns the kernel's name for a process, "" if it can't be had, and
// whether the process is known to be younger than an image started at the given
// tick.
func identify(pid int, image uint64) (command string, later bool) {
	var buf [statSize]byte
	s, err := ourStat(pid, buf[:])
	if err != nil {
		return "", false
	}
	return string(s.command), s.start > image
}

// mayBeStopped reports whether the process is not known to be running: one that
// is stopped won't see a signal before it is continued.
func mayBeStopped(pid int) bool {
	var buf [statSize]byte
	s, err := ourStat(pid, buf[:])
	return err != nil || s.state == 'T'
}

// describe tells what can be known of a process.
func describe(pid int) Child {
	c := Child{PID: pid}
	var buf [statSize]byte
	if s, err := ourStat(pid, buf[:]); err == nil {
		c.Command, c.Started = string(s.command), startTime(s.start)
		c.Args, _ = readArgs(pid)
	}
	return c
}

// ourStat is readStat if /proc shows our PIDs. A yes is remembered; a no is not,
// because process 1 may mount it later.
func ourStat(pid int, buf []byte) (stat, error) {
	if !procChecked.Load() {
		if !procIsOurs() {
			return stat{}, unix.ENOENT
		}
		procChecked.Store(true)
	}
	return readStat(pid, buf)
}

var procChecked atomic.Bool
