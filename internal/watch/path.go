package watch

import "strings"

// A Step is one look-up that resolving a path makes: the name in the directory, which
// is free of symbolic links.
type Step struct{ Dir, Name string }

// maxSymlinks is the number of links that Linux follows in one path,
// path_resolution(7).
const maxSymlinks = 40

// PathSteps lists the look-ups that resolving an absolute path goes through, those for
// the targets of symbolic links included. The list ends early where something is
// missing: its last step is then the one that would have to succeed. readLink returns
// the target of a symbolic link, an error wrapping os.ErrNotExist if there is nothing,
// and an empty target for everything else.
func PathSteps(path string, readLink func(string) (string, error)) []Step {
	var steps []Step
	dir, rest, links := "/", path, 0
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
		steps = append(steps, Step{Dir: dir, Name: name})
		full := join(dir, name)
		target, err := readLink(full)
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

// join and parent do what those of package path do, for paths that need no cleaning.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

func parent(dir string) string {
	return dir[:max(1, strings.LastIndexByte(dir, '/'))]
}
