package inspect

import (
	"fmt"
	"strconv"
	"strings"
)

// credentials are the rights of a process. The IDs are those of the user namespace in which they were
// read, or, after [credentials.in], of another.
type credentials struct {
	UIDs, GIDs           [3]uint32 // real, effective, saved
	Groups               []uint32
	Permitted, Effective uint64 // capabilities
}

// parseStatus parses /proc/PID/status, see proc_pid_status(5).
func parseStatus(content string) (c credentials, err error) {
	found := 0
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		var failed error
		switch key {
		case "Uid":
			failed = parseIDs(fields, c.UIDs[:])
		case "Gid":
			failed = parseIDs(fields, c.GIDs[:])
		case "Groups":
			c.Groups = make([]uint32, len(fields))
			failed = parseIDs(fields, c.Groups)
		case "CapPrm":
			c.Permitted, failed = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		case "CapEff":
			c.Effective, failed = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		default:
			continue
		}
		if found++; failed != nil {
			return credentials{}, fmt.Errorf("found the line %q in its status: %w", strings.TrimSpace(line), failed)
		}
	}
	if found != 5 {
		return credentials{}, fmt.Errorf("found %d lines about its credentials in its status, expected 5", found)
	}
	return c, nil
}

func parseIDs(fields []string, ids []uint32) error {
	for i := range ids {
		if i >= len(fields) {
			return fmt.Errorf("expected %d numbers", len(ids))
		}
		id, err := strconv.ParseUint(fields[i], 10, 32)
		if err != nil {
			return err
		}
		ids[i] = uint32(id)
	}
	return nil
}

// An idMap is /proc/PID/uid_map or gid_map, see user_namespaces(7).
type idMap []idRange

type idRange struct{ Inside, Outside, Count uint32 }

func parseIDMap(content string) (m idMap, err error) {
	for line := range strings.Lines(content) {
		var r [3]uint32
		if err := parseIDs(strings.Fields(line), r[:]); err != nil {
			return nil, fmt.Errorf("found the line %q in its map of IDs: %w", strings.TrimSpace(line), err)
		}
		m = append(m, idRange{r[0], r[1], r[2]})
	}
	return m, nil
}

// inside returns the ID that an ID of this namespace has in the other one.
func (m idMap) inside(id uint32) (uint32, bool) {
	for _, r := range m {
		if id >= r.Outside && id-r.Outside < r.Count {
			return r.Inside + (id - r.Outside), true
		}
	}
	return 0, false
}

// in returns the credentials with the IDs of a namespace. A supplementary group that has none there is
// left out: no process of the namespace can set it.
func (c credentials) in(uids, gids idMap) (credentials, error) {
	for i := range 3 {
		var okUID, okGID bool
		outside := [2]uint32{c.UIDs[i], c.GIDs[i]}
		c.UIDs[i], okUID = uids.inside(outside[0])
		c.GIDs[i], okGID = gids.inside(outside[1])
		if !okUID || !okGID {
			return credentials{}, fmt.Errorf("found UID %d and GID %d, expected IDs that its user namespace knows", outside[0], outside[1])
		}
	}
	var groups []uint32
	for _, g := range c.Groups {
		if id, ok := gids.inside(g); ok {
			groups = append(groups, id)
		}
	}
	c.Groups = groups
	return c, nil
}
