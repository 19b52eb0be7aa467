package watch_test

import (
	"fmt"
	"path"
)

// newJob returns one of the ways to deploy or to damage what is at the path.
func (w *world) newJob() *job {
	jobs := [...]func() *job{
		w.renameOver, w.renameOver, w.renameOver, w.copyForced, w.copyForced, w.install, w.writeInPlace, w.writeInPlace, w.truncate,
		w.removeAndCreate, w.switchLink, w.switchLink, w.linkInstead, w.replaceDirectory, w.renameDirectory, w.touch, w.setMode, w.setOwner,
		w.openDirectory, w.mountDirectory, w.mountDirectory, w.mountFile, w.others, w.notRegular, w.otherLoader, w.loop,
	}
	return jobs[w.IntN(len(jobs))]()
}

// prepared has the steps that make a file beside the one at the path.
func (w *world) prepared(c *content, get func() (dir *node, name string)) (n func() *node, steps []func() bool) {
	var made *node
	steps = w.writing(func() *node {
		dir, name := get()
		if old := dir.entries[name]; old != nil {
			w.k.remove(old)
		}
		made = w.k.create(dir, name, w.mode())
		made.uid = w.owner()
		made.capable = w.k.config.capable && !w.Chance(6)
		return made
	}, c, true)
	if w.Chance(8) { // cp -p, rsync -t, tar
		steps = append(steps, once(func() { w.k.setAttributes(made, func() { made.mtime = 1 }) })...)
	}
	return func() *node { return made }, steps
}

func (w *world) mode() uint32 {
	if w.Chance(12) {
		return 0o644
	}
	return 0o755
}

// owner returns root, mostly.
func (w *world) owner() uint32 {
	if w.Chance(15) {
		return 1000
	}
	return 0
}

func (w *world) renameOver() *job {
	c := w.newVersion()
	temporary := func() (*node, string) { dir, name := w.place(); return dir, name + ".new" }
	n, steps := w.prepared(c, temporary)
	flood := w.Chance(4)
	return &job{"rename over, " + c.name, append(steps, once(func() {
		dir, name := w.place()
		if flood { // other files of the same package
			w.flood(dir)
		}
		w.k.rename(n(), dir, name)
	})...)}
}

// copyForced is cp -f, and a package manager that removes the old file first.
func (w *world) copyForced() *job {
	c := w.newVersion()
	_, steps := w.prepared(c, w.place)
	return &job{"cp -f, " + c.name, append(once(w.removeFile), steps...)}
}

// install sets mode and owner when the file is closed.
func (w *world) install() *job {
	c := w.newVersion()
	n, steps := w.prepared(c, w.place)
	begin := once(w.removeFile)
	return &job{"install, " + c.name, append(append(begin, steps...), once(
		func() { w.k.setAttributes(n(), func() { n().perm = 0o600 }) },
		func() { w.k.setAttributes(n(), func() { n().uid = 0 }) },
		func() { w.k.setAttributes(n(), func() { n().perm = 0o755 }) },
		func() { w.k.setAttributes(n(), func() { n().capable = w.k.config.capable }) },
	)...)}
}

func (w *world) writeInPlace() *job {
	c := w.newVersion()
	return &job{"write in place, " + c.name, w.writing(w.current, c, w.Chance(2))}
}

// truncate leaves a beginning.
func (w *world) truncate() *job {
	var n *node
	steps := w.writing(func() *node { n = w.current(); return n }, nothing, false)
	return &job{"truncate", append(steps[:1], once(func() {
		if n == nil || n.writers == 0 {
			return
		}
		w.k.write(n, n.content.part(w.IntN(len(n.content.bytes)+1)))
		w.k.closeWriter(n)
	})...)}
}

func (w *world) removeAndCreate() *job {
	c := w.newVersion()
	_, steps := w.prepared(c, w.place)
	wait := func() bool { return w.Chance(3) }
	return &job{"rm, later " + c.name, append(append(once(w.removeFile), wait), steps...)}
}

// switchLink makes a release and has the link of the layout lead to it. Without such a link, it
// renames.
func (w *world) switchLink() *job {
	if w.link.path == "" {
		return w.renameOver()
	}
	c := w.newVersion()
	release := w.link.release(w.IntN(4))
	_, steps := w.prepared(c, func() (*node, string) {
		file := path.Join(path.Dir(w.link.path), release, w.link.rest)
		if path.IsAbs(release) {
			file = path.Join(release, w.link.rest)
		}
		dir := w.k.makeDirs(path.Dir(file))
		if dir == nil {
			dir = w.k.makeDirs("/elsewhere")
		}
		return dir, path.Base(file)
	})
	dirOf := func() *node {
		if dir := w.k.makeDirs(path.Dir(w.link.path)); dir != nil {
			return dir
		}
		return w.k.makeDirs("/elsewhere")
	}
	name := path.Base(w.link.path)
	if w.Chance(2) { // ln -sfn removes the link first
		return &job{"rm and ln -s " + release + ", " + c.name, append(steps, once(
			func() { w.k.remove(dirOf().entries[name]) },
			func() {
				if dir := dirOf(); dir.entries[name] == nil {
					w.k.symlink(dir, name, release).uid = w.owner()
				}
			},
		)...)}
	}
	var made *node
	return &job{"switch to " + release + ", " + c.name, append(steps, once(
		func() {
			dir := dirOf()
			w.k.remove(dir.entries[name+".tmp"])
			made = w.k.symlink(dir, name+".tmp", release)
			made.uid = w.owner()
		},
		func() { w.k.rename(made, dirOf(), name) },
	)...)}
}

func (l link) release(n int) string { return fmt.Sprintf(l.target, n) }

// linkInstead puts a symbolic link in the place of the file.
func (w *world) linkInstead() *job {
	c := w.newVersion()
	target := fmt.Sprintf("/store/%d/app", w.IntN(3))
	_, steps := w.prepared(c, func() (*node, string) { return w.k.makeDirs(path.Dir(target)), "app" })
	return &job{"ln -sf " + target + ", " + c.name, append(steps, once(func() {
		if dir := w.k.makeDirs(path.Dir(w.file)); dir != nil {
			w.k.remove(dir.entries[path.Base(w.file)])
			w.k.symlink(dir, path.Base(w.file), target)
		}
	})...)}
}

// above returns a directory above the file, or nil.
func (w *world) above() *node {
	dir, _ := w.place()
	if w.Chance(3) && dir.parent != nil {
		dir = dir.parent
	}
	if dir.parent == nil {
		return nil
	}
	return dir
}

// replaceDirectory prepares a directory with the file and puts it in the place of the other.
func (w *world) replaceDirectory() *job {
	c := w.newVersion()
	var dir, fresh *node
	var name string
	_, steps := w.prepared(c, func() (*node, string) {
		_, name := w.place()
		return fresh, name
	})
	w.versions++
	number := w.versions
	begin := once(func() {
		dir, _ = w.place()
		parent := w.k.root
		if dir.parent != nil {
			parent, name = dir.parent, dir.name
		}
		fresh = w.k.newNode(parent.volume, &node{entries: map[string]*node{}, perm: 0o755})
		w.k.link(parent, fmt.Sprintf("fresh%d", number), fresh)
	})
	return &job{"replace the directory, " + c.name, append(append(begin, steps...), once(
		func() {
			if dir.parent != nil && fresh.parent != nil && !dir.within(fresh.parent) {
				w.k.rename(dir, fresh.parent, fmt.Sprintf("old%d", number))
			}
		},
		func() {
			if fresh.parent != nil && name != "" {
				w.k.rename(fresh, fresh.parent, name)
			}
		},
	)...)}
}

// renameDirectory renames a directory away, and later back.
func (w *world) renameDirectory() *job {
	var dir, parent *node
	var name string
	return &job{"rename a directory and back", once(
		func() {
			if dir = w.above(); dir != nil {
				parent, name = dir.parent, dir.name
				w.versions++
				w.k.rename(dir, parent, fmt.Sprintf("%s.away%d", name, w.versions))
			}
		},
		func() {
			if dir != nil && parent.parent != nil || parent == w.k.root {
				w.k.rename(dir, parent, name)
			}
		},
	)}
}

func (w *world) touch() *job {
	return &job{"touch", once(func() {
		if n := w.current(); n != nil {
			w.k.setAttributes(n, func() { n.mtime = w.k.now() })
		}
	})}
}

// setMode takes the permission to execute away and mostly gives it back.
func (w *world) setMode() *job {
	set := func(perm uint32) func() {
		return func() {
			if n := w.current(); n != nil {
				w.k.setAttributes(n, func() { n.perm = perm })
			}
		}
	}
	steps := once(set(0o644), set(0o755))
	if w.Chance(4) {
		steps = steps[:1]
	}
	return &job{"chmod", steps}
}

func (w *world) setOwner() *job {
	set := func(uid uint32) func() {
		return func() {
			if n := w.current(); n != nil {
				w.k.setAttributes(n, func() { n.uid = uid })
			}
		}
	}
	steps := once(set(1000), set(0))
	if w.Chance(4) {
		steps = steps[:1]
	}
	return &job{"chown", steps}
}

// openDirectory lets everybody write into a directory, and mostly takes it back.
func (w *world) openDirectory() *job {
	var dir *node
	steps := once(
		func() {
			if dir = w.above(); dir != nil {
				w.k.setAttributes(dir, func() { dir.perm = 0o777 })
			}
		},
		func() {
			if dir != nil {
				w.k.setAttributes(dir, func() { dir.perm = 0o755 })
			}
		},
	)
	if w.Chance(4) {
		steps = steps[:1]
	}
	return &job{"chmod of a directory", steps}
}

// mountDirectory mounts a file system over a directory of the path, with another version or
// nothing, and mostly unmounts it.
func (w *world) mountDirectory() *job {
	c := w.newVersion()
	magic := uint32(loudMagic)
	if w.Chance(4) {
		magic = silentMagic
	}
	root := w.k.newVolume(magic)
	root.volume.nosuid = w.Chance(8)
	if magic == silentMagic && w.Chance(4) {
		root.volume.magic, root.volume.user = fuseMagic, 1000
	}
	var dir, over *node
	_, steps := w.prepared(c, func() (*node, string) {
		_, name := w.place()
		return root, name
	})
	if w.Chance(4) {
		steps = nil
	}
	at := w.IntN(len(steps) + 1) // it is filled before or after
	mount := func() {
		if dir, _ = w.place(); dir.volume == w.k.root.volume && dir != w.k.root {
			over = dir
			w.k.mount(over, root)
		}
	}
	steps = append(append(append([]func() bool{}, steps[:at]...), once(mount)...), steps[at:]...)
	if !w.Chance(3) {
		steps = append(steps, once(func() {
			if over != nil {
				w.k.unmount(over)
			}
		})...)
	}
	return &job{"mount, " + c.name, steps}
}

// mountFile mounts a file over the file, and mostly unmounts it.
func (w *world) mountFile() *job {
	c := w.newVersion()
	w.versions++
	name := fmt.Sprintf("bound%d", w.versions)
	n, steps := w.prepared(c, func() (*node, string) { return w.k.makeDirs("/bind"), name })
	var over *node
	steps = append(steps, once(func() {
		if over = w.current(); over != nil && over != n() {
			w.k.mount(over, n())
		}
	})...)
	if !w.Chance(3) {
		steps = append(steps, once(func() {
			if over != nil {
				w.k.unmount(over)
			}
		})...)
	}
	return &job{"mount a file, " + c.name, steps}
}

// flood makes and removes other files, mostly more of them than a queue holds.
func (w *world) flood(dir *node) {
	for i := range w.IntN(80) {
		w.k.remove(w.k.create(dir, fmt.Sprintf("other%d", i), 0o644))
	}
}

func (w *world) others() *job {
	return &job{"other files", once(func() {
		dir, _ := w.place()
		w.flood(dir)
	})}
}

// notRegular puts a directory or a device in the place of the file.
func (w *world) notRegular() *job {
	directory := w.Chance(2)
	return &job{"not a regular file", once(w.removeFile, func() {
		dir, name := w.place()
		if dir.entries[name] != nil {
			return
		}
		n := &node{device: true, perm: 0o666}
		if directory {
			n = &node{entries: map[string]*node{}, perm: 0o755}
		}
		w.k.link(dir, name, w.k.newNode(dir.volume, n))
	})}
}

// otherLoader removes the dynamic loader, and mostly installs it again.
func (w *world) otherLoader() *job {
	steps := once(
		func() {
			if n, err := w.k.find(loader); err == nil {
				w.k.remove(n)
			}
		},
		func() {
			if dir := w.k.makeDirs(path.Dir(loader)); dir != nil && dir.entries[path.Base(loader)] == nil {
				w.k.create(dir, path.Base(loader), 0o755)
			}
		},
	)
	if w.Chance(4) {
		steps = steps[:1]
	}
	return &job{"remove the loader", steps}
}

// loop is a symbolic link to itself.
func (w *world) loop() *job {
	return &job{"a link to itself", once(w.removeFile, func() {
		if dir, name := w.place(); dir.entries[name] == nil {
			w.k.symlink(dir, name, name)
		}
	})}
}
