package autorestart

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

// launch is how this process was started. It is taken at package
// initialisation, before main can change the directory or os.Args.
var launch = takeLaunch()

type launchInfo struct {
	path string // absolute, symbolic links kept; "" if it can't be told
	args []string
	id   candidate.ID // the file that this image was executed from; zero if it can't be told
}

func takeLaunch() launchInfo {
	path := launchPath()
	return launchInfo{path: path, args: slices.Clone(os.Args), id: launchID(path)}
}

// errNoPath answers for a program without a file name, as one that was executed
// from a memfd.
var errNoPath = errors.New("autorestart: the path of this program's executable can't be told; set Path")

// errNoDirectory answers for a relative path in a working directory that is gone.
var errNoDirectory = errors.New("autorestart: the working directory can't be told; set Path to an absolute one")

// executablePath returns path, made absolute, or where that is empty the launch
// path.
func executablePath(path string) (string, error) {
	if path == "" {
		if launch.path == "" {
			return "", errNoPath
		}
		return launch.path, nil
	}
	if path = absolute(path); path == "" {
		return "", errNoDirectory
	}
	return path, nil
}

// absolute makes path absolute without cleaning it: in "link/../app" the dots
// belong to what the link leads to. It returns "" without a working directory.
func absolute(path string) string {
	if path == "" || os.IsPathSeparator(path[0]) || filepath.IsAbs(path) {
		return path
	}
	dir, err := syscall.Getwd()
	if err != nil {
		return ""
	}
	for len(path) > 1 && path[0] == '.' && os.IsPathSeparator(path[1]) {
		path = path[2:]
	}
	if os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + path
	}
	return dir + string(os.PathSeparator) + path
}
