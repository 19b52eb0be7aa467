package drain

import "slices"

// Hold has the group begin quiesced: what is registered accepts no work until Release. It is for
// an image beside which another process serves. Unlike in a drain, the channel of Draining stays
// open, and what was handed to this image can be claimed. Hold is called before the first
// registration.
func (g *Group) Hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
}

// Release ends Hold: unless a drain is under way, everything accepts work. Without Hold it does
// nothing.
func (g *Group) Release() {
	g.mu.Lock()
	empty := len(g.members) == 0
	if empty {
		g.held = false
	}
	g.mu.Unlock()
	if !empty {
		g.Notifier().release()
	}
}

// release is Release of a group that has members. It is a method of the [Notifier], as other code
// that a program without drainers does not need.
func (g *Group) release() {
	g.phase.Lock()
	defer g.phase.Unlock()
	g.mu.Lock()
	if !g.held {
		g.mu.Unlock()
		return
	}
	g.held = false
	g.resuming++
	members := g.takeResuming()
	g.mu.Unlock()
	g.resumeAll(members)
}

// resumeAll calls Resume of the members, and then counts one resuming less. It is called with
// phase locked.
func (g *Group) resumeAll(members []*member) {
	slices.Reverse(members) // a server before its listener
	callInOrder(members, "Resume", (*member).startResume)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resuming--
	g.change()
}
