// Package telemetry has what metrics and traces of restarts have in common: how each restart ends,
// why a version is rejected, and [Values], which go on over a restart and a rollback.
package telemetry

import (
	"os"
	"sync"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/image"
	"github.com/autorestart-go/autorestart/internal/report"
)

// Values are bytes by name. Each image of the process finds them as the image before has set them,
// also after a rollback: a state that the version that failed has set would be lost there, see
// [autorestart.SetState]. They are in two files in memory that cross each exec. An exec in the middle
// of a Set does not damage them.
//
// In a stand-in Values are empty, and those that it sets are lost: its main process writes to the files.
type Values struct {
	mu      sync.Mutex
	content map[string][]byte
	log     *crashlog.Log // nil if nothing crosses
}

// opened are the names of the Values of each image.
var opened sync.Map

type openedKey struct {
	image *image.Image
	name  string
}

// Open returns the Values of the given name. It panics if they are open in this image. If they
// can't cross the exec, or those of the image before can't be read, Open logs that.
func Open(name string) *Values {
	if _, loaded := opened.LoadOrStore(openedKey{image.Current(), name}, true); loaded {
		panic("autorestart: two parts of the program use the values of " + name)
	}
	v := &Values{content: map[string][]byte{}}
	if autorestart.StandIn() {
		return v
	}
	names := [2]string{"autorestart." + name + ".0", "autorestart." + name + ".1"}
	if v.inherit(names) {
		return v
	}
	if err := v.create(names); err != nil {
		report.Warn("metrics will not cross the restart: they begin at 0 in the next version", "reason", err)
	}
	return v
}

// inherit opens the files of the image before, and reports whether there are any that can be read.
func (v *Values) inherit(names [2]string) bool {
	var files [2]*os.File
	for i, name := range names {
		f, err := autorestart.Inherited(name)
		if err != nil {
			closeAll(files)
			return false
		}
		files[i] = f
	}
	log, content, err := crashlog.Open([2]crashlog.File{files[0], files[1]})
	if err != nil {
		closeAll(files)
		report.Warn("metrics of the previous version are lost: they begin at 0", "reason", err)
		return false
	}
	v.log, v.content = log, content
	return true
}

// create makes files that cross each exec.
func (v *Values) create(names [2]string) error {
	var files [2]*os.File
	for i, name := range names {
		f, err := newFile(name)
		if err == nil {
			files[i] = f
			err = autorestart.Pass(name, f)
		}
		if err != nil {
			closeAll(files)
			return err
		}
	}
	log, err := crashlog.New([2]crashlog.File{files[0], files[1]}, nil)
	if err != nil {
		closeAll(files)
		return err
	}
	v.log = log
	return nil
}

func closeAll(files [2]*os.File) {
	for _, f := range files {
		f.Close() // nil is no harm
	}
}

// Get returns a value, or nil.
func (v *Values) Get(name string) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.content[name]
}

// Set sets a value.
func (v *Values) Set(name string, value []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.content[name] = value
	if v.log == nil {
		return
	}
	if err := v.log.Write(crashlog.Change{Name: name, Value: value}); err != nil {
		report.Warn("metrics will not cross the restart: they begin at 0 in the next version", "reason", err)
	}
}
