//go:build !autorestart_portable

package autorestart

import (
	"os"
	"strings"
)

// pathStep is one look-up that resolving a path makes: name in the directory
// dir, which is free of symbolic links.
type pathStep struct {
	dir, name string
	wd        int // of the watch on dir, see [inotify]; 0 if there is none
}

// maxSymlinks is what Linux follows in one path, path_resolution(7).
const maxSymlinks = 40

// pathSteps lists the look-ups that resolving a path goes through, those for
// symbolic links' targets included. It ends early where something is missing:
// the last step is then the one that would have to succeed. link returns the
// target of a symbolic link, an error wrapping os.ErrNotExist if there is
// nothing, and an empty target for everything else.
func pathSteps(abs string, link func(string) (string, error)) []pathStep {
	var steps []pathStep
	dir, rest, links := "/", abs, 0
	for rest != "" {
		name, tail, more := strings.Cut(rest, "/")
		rest = tail
		switch name {
		case "", ".":
			continue
		case "..":
			dir = parent(dir)
			continue
		}
		steps = append(steps, pathStep{dir: dir, name: name})
		full := join(dir, name)
		target, err := link(full)
		switch {
		case err != nil:
			return steps
		case target == "":
			if !more {
				return steps
			}
			dir = full
		default:
			if links++; links > maxSymlinks {
				return steps
			}
			if target[0] == '/' {
				dir = "/"
			}
			if rest = target; more {
				rest += "/" + tail
			}
		}
	}
	return steps
}

// readLink is the link of [pathSteps] that asks the file system.
func readLink(name string) (string, error) {
	target, err := os.Readlink(name)
	if err == nil || os.IsNotExist(err) {
		return target, err
	}
	return "", nil // EINVAL: not a symbolic link; whatever else, the look-up itself will tell
}

// join and parent stand for those of package path: what they are given needs
// no cleaning.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

func parent(dir string) string {
	return dir[:max(1, strings.LastIndexByte(dir, '/'))]
}
