//go:build linux

package overlap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/daemon"
)

// reports are those that the versions of a server have appended to a file.
type reports struct {
	file string
	size int // of what was read
	all  []daemon.Report
}

// read reads the reports that have come since.
func (r *reports) read() error {
	content, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range bytes.Lines(content[r.size:]) {
		var report daemon.Report
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the rest comes
		}
		if err := json.Unmarshal(line, &report); err != nil {
			return err
		}
		r.size += len(line)
		r.all = append(r.all, report)
	}
	return nil
}

// of returns the report of a version as a main process, or as a stand-in.
func (r *reports) of(version int, standIn bool) (daemon.Report, bool) {
	for _, report := range r.all {
		if report.Version == version && report.StandIn == standIn {
			return report, true
		}
	}
	return daemon.Report{}, false
}

// drained returns when the image with an identity began to drain; the zero time if it did not.
func (r *reports) drained(id daemon.Identity) time.Time {
	for _, report := range r.all {
		switch {
		case report.StandIn || report.Started <= id.Started:
		case report.PID == id.PID:
			return report.Quiesced // for this one
		default:
			return report.Ready // it is ready, so it serves in place of the other process
		}
	}
	return time.Time{}
}
