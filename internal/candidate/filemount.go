package candidate

import "strings"

// A fileMount is a line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type fileMount struct {
	device, root, point string // as in mountinfo, where the kernel escapes some bytes
}

// KeepsReplaced reports whether a mount of one file goes on showing that file when another one is
// renamed over it where it was mounted from. A file that is mounted over itself is replaced: the
// kernel ends the mount when the path below it gets another file. The mount has the given ID in
// content, that of /proc/self/mountinfo. If content does not tell, KeepsReplaced returns false.
func KeepsReplaced(content, id string) bool {
	mount, parent, ok := findMount(content, id)
	if !ok {
		return false
	}
	below, _, ok := findMount(content, parent)
	return ok && mount != below.fileAt(mount.point)
}

// fileAt returns what a mount of the file at the path would be that is mounted over it.
func (m fileMount) fileAt(point string) fileMount {
	name := strings.TrimPrefix(point, strings.TrimSuffix(m.point, "/"))
	return fileMount{m.device, strings.TrimSuffix(m.root, "/") + name, point}
}

// findMount returns the mount with the ID in the content of mountinfo, and the ID of the mount that
// it is on.
func findMount(content, id string) (mount fileMount, parent string, ok bool) {
	for content != "" {
		var line string
		line, content, _ = strings.Cut(content, "\n")
		own, line, _ := strings.Cut(line, " ")
		if own != id {
			continue
		}
		parent, line, _ = strings.Cut(line, " ")
		mount.device, line, _ = strings.Cut(line, " ")
		mount.root, line, _ = strings.Cut(line, " ")
		mount.point, _, ok = strings.Cut(line, " ")
		return mount, parent, ok
	}
	return mount, "", false
}
