package systemd

import (
	"os"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/report"
)

// serving returns which version serves, for STATUS. It is called with n locked.
func (n *notifier) serving() string {
	return n.name() + " serves, generation " + strconv.Itoa(autorestart.Generation())
}

// name returns the name of the version that runs, as log lines have it. It is called with n locked.
func (n *notifier) name() string {
	if n.running == "" {
		n.running = runningBuild().String()
	}
	return n.running
}

// runningBuild returns how the running image was built. The Go build ID is in the file only.
func runningBuild() autorestart.BuildInfo {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return autorestart.BuildInfo{}
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return autorestart.BuildInfo{}
	}
	b := elfimage.ReadBuild(f, st.Size())
	return autorestart.BuildInfo{ID: b.ID, Module: b.Module, Version: b.Version}
}

// reason returns the text of an error, which may be one of the program's.
func reason(err error) string {
	return strings.TrimPrefix(report.PanicText(err), "autorestart: ")
}
