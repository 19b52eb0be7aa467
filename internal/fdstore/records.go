package fdstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/crashlog"
	"github.com/autorestart-go/autorestart/internal/passing"
)

// The records of the log. Other versions of this library read them: a version ignores the records that it does not know.

const (
	// Prefixes of the names of the log: of a file, a state, and an unnamed file.
	filePrefix    = "f"
	statePrefix   = "s"
	unnamedPrefix = "u" // of a name in systemd's store; see Order

	// Names of records about the set. They begin with no prefix.
	setName     = "name"
	createdName = "created" // a time of CLOCK_MONOTONIC, in nanoseconds
	networkName = "network" // see OwnNetwork
	othersName  = "others"  // how many descriptors of others systemd has passed to the start
)

// ofLog stands for the name of the files of the log, which have none.
var ofLog = passing.CarriedName("log")

func setRecords(set string, created int64, network uint64, others int) []crashlog.Change {
	return []crashlog.Change{
		{Name: setName, Value: []byte(set)},
		{Name: createdName, Value: strconv.AppendInt(nil, created, 10)},
		{Name: networkName, Value: strconv.AppendUint(nil, network, 10)},
		{Name: othersName, Value: strconv.AppendInt(nil, int64(others), 10)},
	}
}

func stateRecord(name passing.Name, value []byte) crashlog.Change {
	return crashlog.Change{Name: statePrefix + string(name), Value: value}
}

// fileRecord is the record of a file under one of its names: the name in systemd's store, and the ID.
func fileRecord(name passing.Name, own *stored) crashlog.Change {
	return crashlog.Change{Name: filePrefix + string(name), Value: []byte(own.name + " " + own.id.String())}
}

func unnamedRecord(name string) crashlog.Change {
	return crashlog.Change{Name: unnamedPrefix + name, Value: []byte{}}
}

// parseFile parses the value of a fileRecord.
func parseFile(value []byte) (name string, id ID, ok bool) {
	name, text, _ := strings.Cut(string(value), " ")
	id, ok = parseID(text)
	return name, id, ok
}

// parse returns the set that a log describes.
func parse(log *crashlog.Log, content map[string][]byte) (*recovered, error) {
	r := &recovered{
		set: string(content[setName]), log: log,
		files: map[passing.Name]storedFile{}, states: map[passing.Name][]byte{}, passed: map[string]int{},
	}
	if !isSet(r.set) {
		return nil, errors.New("found the name of a set " + strconv.Quote(r.set) + ", expected letters and digits")
	}
	for name, value := range content {
		switch {
		case name == setName:
		case name == createdName:
			r.created, _ = strconv.ParseInt(string(value), 10, 64)
		case name == networkName:
			r.network, _ = strconv.ParseUint(string(value), 10, 64)
		case name == othersName:
			others, _ := strconv.ParseUint(string(value), 10, 31)
			r.others = int(others)
		case strings.HasPrefix(name, filePrefix):
			stored, id, ok := parseFile(value)
			if !ok || !strings.HasPrefix(stored, fileName(r.set, "")) {
				return nil, fmt.Errorf("found the record %q of file %q, expected a name of this set and an ID", value, name[1:])
			}
			r.files[passing.Name(name[1:])] = storedFile{stored, id}
		case strings.HasPrefix(name, statePrefix):
			r.states[passing.Name(name[1:])] = value
		case strings.HasPrefix(name, unnamedPrefix):
			if set, _, ok := parseName(name[1:]); ok && set == r.set {
				r.unnamed = append(r.unnamed, name[1:])
			}
		} // a later version of this library may keep more
	}
	return r, nil
}
