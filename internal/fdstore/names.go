package fdstore

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Names in systemd's store have at most 255 bytes and no colon, which separates them in
// LISTEN_FDNAMES.

const (
	prefix    = "autorestart."
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
	n, err := strconv.ParseInt(s, 36, 64)
	return err == nil && strconv.FormatInt(n, 36) == s
}

// numberOf returns the number of a file, or -1 for a log.
func numberOf(name string) int {
	_, part, _ := parseName(name)
	n, err := strconv.Atoi(part)
	if err != nil {
		return -1
	}
	return n
}

// setsOf returns the sets that passed files belong to, the newest first.
func setsOf(passed []Passed) (sets []string) {
	for _, p := range passed {
		if set, _, ok := parseName(p.Name); ok && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	slices.SortFunc(sets, func(a, b string) int {
		x, _ := strconv.ParseInt(a, 36, 64)
		y, _ := strconv.ParseInt(b, 36, 64)
		return cmp.Compare(y, x)
	})
	return sets
}
