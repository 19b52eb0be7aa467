package rollout

import (
	"debug/buildinfo"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// What /proc says of a process.

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// executable identifies the file that a process runs, which may have no name any more.
func executable(pid int) (candidate.ID, error) {
	st, err := sys.Stat(exePath(pid))
	return candidate.ID(st), err
}

// parentOf returns the PID of the parent, or 0.
func parentOf(pid int) int {
	stat, _ := os.ReadFile(procFile(pid, "stat"))
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	if fields := strings.Fields(rest); len(fields) > 1 {
		parent, _ := strconv.Atoi(fields[1])
		return parent
	}
	return 0
}

// mayRun reports whether the arguments of a process say that it runs the executable.
func mayRun(pid int, path string) bool {
	line, _ := os.ReadFile(procFile(pid, "cmdline"))
	name, _, _ := strings.Cut(string(line), "\x00")
	return name == path || !filepath.IsAbs(name) && filepath.Base(name) == filepath.Base(path)
}

// mayContainLibrary reports false for a program that is known not to contain package autorestart.
func mayContainLibrary(pid int) bool {
	info, err := buildinfo.ReadFile(exePath(pid))
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	if info.Main.Path == elfimage.Library || info.Main.Path == "" {
		return true
	}
	for _, dependency := range info.Deps {
		if dependency.Path == elfimage.Library {
			return true
		}
	}
	return false
}
