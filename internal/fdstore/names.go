package fdstore

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/activation"
)

// Names in systemd's store have at most 255 bytes and no colon, which separates them in
// LISTEN_FDNAMES.

const (
	prefix    = activation.StoredPrefix
	logPrefix = "log" // of the part behind the set, in the names of a log
)

// fileName returns the name of a part of a set.
func fileName(set, part string) string { return prefix + set + "." + part }

// IsName reports whether a name is one that this package gives.
func IsName(name string) bool {
	_, _, ok := parseName(name)
	return ok
}

// parseName undoes fileName.
func parseName(name string) (set, part string, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", "", false
	}
	set, part, ok = strings.Cut(rest, ".")
	if !ok || !isSet(set) {
		return "", "", false
	}
	_, err := strconv.ParseUint(strings.TrimPrefix(part, logPrefix), 10, 31)
	return set, part, err == nil
}

// isSet reports whether s may be the name of a set: a number with the base 36.
func isSet(s string) bool {
	n, err := strconv.ParseUint(s, 36, 64)
	return err == nil && strconv.FormatUint(n, 36) == s
}

// SetOf returns the name of the set of a start that systemd gives an invocation ID: the same one in all
// images that follow the start. Without an ID it is that of the time.
func SetOf(invocationID string, now time.Time) string {
	n, err := strconv.ParseUint(invocationID[:min(16, len(invocationID))], 16, 64)
	if err != nil {
		n = uint64(now.UnixNano())
	}
	return strconv.FormatUint(n, 36)
}

// setsOf returns the sets that passed files belong to.
func setsOf(passed []Passed) (sets []string) {
	for _, p := range passed {
		if set, _, ok := parseName(p.Name); ok && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	return sets
}
