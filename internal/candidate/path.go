package candidate

import (
	"path"
	"strings"
)

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
// and an empty target for everything else. It is called for the steps in their order.
func PathSteps(absolute string, readLink func(string) (string, error)) []Step {
	var steps []Step
	dir, rest, links := "/", absolute, 0
	for rest != "" {
		name, tail, more := strings.Cut(rest, "/")
		rest = tail
		switch name {
		case "", ".":
			continue
		case "..":
			dir = path.Dir(dir)
			continue
		}
		steps = append(steps, Step{Dir: dir, Name: name})
		full := path.Join(dir, name)
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
