package watch_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// files are the directories, links, files and mounts of a simulated machine, and what is told
// of their changes.
type files struct {
	root   *node
	epoch  time.Time   // of the clock of time stamps
	stamp  int64       // of the last change
	queue  *queue      // of the process that watches; nil if it has none
	unseen func() bool // whether a change is one that no event tells of

	mountsChanged bool // since that was asked last
	devices       uint64
}

// A node is a file, a directory or a symbolic link, as its fields say.
type node struct {
	volume *volume
	ino    uint64

	entries map[string]*node // of a directory
	target  string           // of a symbolic link
	content *content         // of a file
	device  bool             // nothing that can be executed

	// Where it is; nil where it was removed. A node has one name.
	parent *node
	name   string

	mounted      *node // what covers it
	covers       int   // how often it does
	uid          uint32
	perm         uint32
	mtime, ctime int64
	capable      bool

	writers int  // that have it open
	readers int  // that have it open
	running bool // is executed
	freed   bool // nothing uses it any more
	leased  bool
	breaks  bool // a writer waits for the end of the lease
}

// A volume is a file system.
type volume struct {
	dev    uint64
	magic  uint32 // its type
	nosuid bool
	user   uint32 // who serves it, by FUSE
	inodes uint64
	free   []uint64 // inodes that were used; the next file gets the last one
}

// A content is what a file contains.
type content struct {
	name    string
	bytes   []byte
	good    bool // it is a whole program for this machine
	unclear bool // its bytes don't tell that it is none
	extent  int  // the part of a program without which it is none
	loader  bool // it needs the dynamic loader
}

const (
	silentMagic = 0x6969 // of a file system of a network
	loudMagic   = 0xef53
	fuseMagic   = 0x65735546
)

func newFiles() *files {
	f := &files{epoch: time.Now(), unseen: func() bool { return false }}
	f.root = f.newVolume(loudMagic)
	return f
}

// newVolume returns the root directory of a new one.
func (f *files) newVolume(magic uint32) *node {
	f.devices++
	return f.newNode(&volume{dev: f.devices, magic: magic}, &node{entries: map[string]*node{}, perm: 0o755})
}

func (f *files) newNode(v *volume, n *node) *node {
	n.volume = v
	if last := len(v.free) - 1; last >= 0 {
		n.ino, v.free = v.free[last], v.free[:last]
	} else {
		v.inodes++
		n.ino = v.inodes
	}
	n.mtime = f.now()
	n.ctime = n.mtime
	return n
}

// now returns a time stamp that no other change has.
func (f *files) now() int64 {
	f.stamp = max(f.stamp+1, time.Since(f.epoch).Nanoseconds())
	return f.stamp
}

func (n *node) id() candidate.ID {
	id := candidate.ID{Dev: n.volume.dev, Ino: n.ino, UID: n.uid, Perm: n.perm, Mtime: n.mtime, Ctime: n.ctime}
	if n.content != nil {
		id.Size, id.Regular = int64(len(n.content.bytes)), true
	}
	return id
}

func (n *node) String() string {
	switch {
	case n.entries != nil:
		return fmt.Sprintf("directory %d:%d", n.volume.dev, n.ino)
	case n.content == nil:
		return fmt.Sprintf("%d:%d", n.volume.dev, n.ino)
	default:
		return fmt.Sprintf("%d:%d %s %o of %d, at %d", n.volume.dev, n.ino, n.content.name, n.perm, n.uid, n.ctime)
	}
}

// lookUp returns what a directory has under a name, with what is mounted there.
func (n *node) lookUp(name string) (*node, error) {
	if n.entries == nil {
		return nil, syscall.ENOTDIR
	}
	child := n.entries[name]
	if child == nil {
		return nil, syscall.ENOENT
	}
	for child.mounted != nil {
		child = child.mounted
	}
	return child, nil
}

// A walk resolves a path.
type walk struct {
	links   int
	crossed *node   // the root of the last mount on the way
	visited []*node // directories, links and the file, in their order
	room    [16]*node
}

func (w *walk) resolve(dir *node, name string, root *node, follow bool) (*node, error) {
	if strings.HasPrefix(name, "/") {
		dir = root
	}
	if w.visited == nil {
		w.visited = w.room[:0]
	}
	w.visited = append(w.visited, dir)
	for rest := strings.TrimLeft(name, "/"); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next, err := dir.lookUp(part)
		if err != nil {
			return nil, err
		}
		if dir.entries[part] != next {
			w.crossed = next
		}
		w.visited = append(w.visited, next)
		if next.target != "" && (follow || rest != "") {
			if w.links++; w.links > 40 {
				return nil, syscall.ELOOP
			}
			if next, err = w.resolve(dir, next.target, root, true); err != nil {
				return nil, err
			}
		}
		dir = next
	}
	return dir, nil
}

// find follows all symbolic links.
func (f *files) find(name string) (*node, error) {
	return new(walk).resolve(f.root, name, f.root, true)
}

// at does not follow the last one.
func (f *files) at(name string) (*node, error) { return new(walk).resolve(f.root, name, f.root, false) }

// mustFind is for directories that are there.
func (f *files) dir(name string) *node {
	n, err := f.find(name)
	if err != nil || n.entries == nil {
		return nil
	}
	return n
}

// makeDirs makes the directories of the path that are missing. It returns nil if something else is in
// the way.
func (f *files) makeDirs(name string) *node {
	if name == "/" {
		return f.root
	}
	if n := f.dir(name); n != nil {
		return n
	}
	parent := f.makeDirs(path.Dir(name))
	if parent == nil || parent.entries[path.Base(name)] != nil {
		return nil
	}
	n := f.newNode(parent.volume, &node{entries: map[string]*node{}, perm: 0o755})
	f.link(parent, path.Base(name), n)
	return n
}

// link puts a node under a name that is free.
func (f *files) link(dir *node, name string, n *node) {
	dir.entries[name] = n
	n.parent, n.name = dir, name
	f.tell(dir, name, step)
}

// create makes an empty file.
func (f *files) create(dir *node, name string, perm uint32) *node {
	n := f.newNode(dir.volume, &node{content: nothing, perm: perm})
	f.link(dir, name, n)
	return n
}

func (f *files) symlink(dir *node, name, target string) *node {
	n := f.newNode(dir.volume, &node{target: target, perm: 0o777})
	f.link(dir, name, n)
	return n
}

// remove removes a node and all that is below it.
func (f *files) remove(n *node) {
	if n == nil || n.parent == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		f.remove(n.entries[name])
	}
	if n.mounted != nil {
		f.unmount(n)
	}
	dir, name := n.parent, n.name
	delete(dir.entries, name)
	n.parent = nil
	n.ctime = f.now()
	f.tell(dir, name, step)
	f.gone(n)
}

// gone is called for a node without a name, whenever it may not be used any more.
func (f *files) gone(n *node) {
	if n.parent != nil || n.freed || n.covers > 0 || n.writers > 0 || n.readers > 0 || n.running || n == f.root {
		return
	}
	n.freed = true
	n.volume.free = append(n.volume.free, n.ino)
	f.tellSelf(n, self)
	f.tellSelf(n, ended)
}

// rename moves a node, over what is there.
func (f *files) rename(n, dir *node, name string) {
	from, old := n.parent, n.name
	if from == nil || from == dir && old == name || n.within(dir) {
		return
	}
	over := dir.entries[name]
	if over != nil && over.mounted != nil {
		return // EBUSY
	}
	if over != nil && over.entries != nil && len(over.entries) > 0 {
		f.remove(over)
		over = nil
	}
	delete(from.entries, old)
	if over != nil {
		over.parent = nil
		over.ctime = f.now()
	}
	dir.entries[name] = n
	n.parent, n.name = dir, name
	n.ctime = f.now()
	f.tell(from, old, step)
	f.tell(dir, name, step)
	f.tellSelf(n, self)
	if over != nil {
		f.gone(over)
	}
}

// within reports whether a directory is n or below it.
func (n *node) within(dir *node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

// write changes the content of a file that is open.
func (f *files) write(n *node, c *content) {
	n.content = c
	n.mtime = f.now()
	n.ctime = n.mtime
}

// closeWriter closes a file that was open for writing.
func (f *files) closeWriter(n *node) {
	n.writers--
	if n.parent != nil {
		f.tell(n.parent, n.name, ready)
	}
	f.gone(n)
}

// setAttributes tells of a change of owner, mode, times or capabilities, which it makes.
func (f *files) setAttributes(n *node, set func()) {
	set()
	n.ctime = f.now()
	if n.parent != nil {
		f.tell(n.parent, n.name, ready)
	}
	f.tellSelf(n, ready)
}

// mount covers a directory, or a file, by the root of another file system.
func (f *files) mount(over, root *node) {
	for over.mounted != nil {
		over = over.mounted
	}
	over.mounted = root
	root.covers++
	f.mountsChanged = true
}

// unmount uncovers a node by the last mount.
func (f *files) unmount(over *node) {
	for over.mounted != nil && over.mounted.mounted != nil {
		over = over.mounted
	}
	root := over.mounted
	if root == nil {
		return
	}
	over.mounted = nil
	f.mountsChanged = true
	root.covers--
	switch {
	case root.content != nil:
		f.gone(root)
	case root.parent == nil: // a file system that is nowhere else
		f.endWatches(root)
	}
}

func (f *files) endWatches(n *node) {
	f.tellSelf(n, self)
	f.tellSelf(n, ended)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		f.endWatches(n.entries[name])
	}
}

// tell is of a name in a directory.
func (f *files) tell(dir *node, name string, kind eventKind) {
	if f.queue != nil && !f.unseen() {
		f.queue.add(dir, name, kind)
	}
}

// tellSelf is of a directory itself. The end of a watch is always told: the kernel knows of it.
func (f *files) tellSelf(n *node, kind eventKind) {
	if f.queue != nil && (kind == ended || !f.unseen()) {
		f.queue.add(n, "", kind)
	}
}
