package daemon

import (
	"encoding/json"
	"flag"
	"os"
	"syscall"
	"time"
)

var reportFile = flag.String("report", "", "`file` to which each version appends a line when it is ready, see type Report")

// A Report is what a version says of itself when it is ready.
type Report struct {
	Identity
	StandIn bool
	Ready   time.Time
	CPU     time.Duration // that the process has had so far

	// Of the restart, as far as a library tells. The zero time means that it does not.
	Quiesced, Executed time.Time
}

// Say appends the report to the file of reports, if there is one.
func (r Report) Say() error {
	if *reportFile == "" {
		return nil
	}
	r.Identity, r.Ready = Self(), time.Now()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	r.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(*reportFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}
