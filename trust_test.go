package autorestart

import (
	"strings"
	"testing"
)

func TestCheckTrust(t *testing.T) {
	root := credentials{euid: 0, privileged: true}
	capable := credentials{euid: 1000, privileged: true}
	plain := credentials{euid: 1000}
	file := func(uid, gid, perm uint32) fileID { return fileID{uid: uid, gid: gid, perm: perm, regular: true} }
	for _, tt := range []struct {
		name               string
		self               credentials
		candidate, running fileID
		found              string // "" if trusted
	}{
		{"root's", root, file(0, 0, 0o755), file(0, 0, 0o755), ""},
		{"a user's", root, file(1000, 0, 0o755), file(0, 0, 0o755), "belongs to UID 1000"},
		{"the same user's as before", root, file(1000, 0, 0o755), file(1000, 0, 0o755), ""},
		{"root's, a user's before", root, file(0, 0, 0o755), file(1000, 0, 0o755), ""},
		{"another user's than before", root, file(1001, 0, 0o755), file(1000, 0, 0o755), "belongs to UID 1001"},
		{"its own, with capabilities", capable, file(1000, 0, 0o755), file(0, 0, 0o755), ""},
		{"a user's, with capabilities", capable, file(1001, 0, 0o755), file(0, 0, 0o755), "belongs to UID 1001"},
		{"a user's, without rights", plain, file(1001, 0, 0o777), file(0, 0, 0o755), ""},
		{"group writes", root, file(0, 5, 0o775), file(0, 5, 0o755), "GID 5 can write"},
		{"group wrote before", root, file(0, 5, 0o775), file(0, 5, 0o775), ""},
		{"another group wrote before", root, file(0, 6, 0o775), file(0, 5, 0o775), "GID 6 can write"},
		{"all write", root, file(0, 0, 0o757), file(0, 0, 0o755), "everybody can write"},
		{"all wrote before", root, file(0, 0, 0o757), file(0, 0, 0o757), ""},
		{"all wrote before, not the group", root, file(0, 7, 0o777), file(0, 0, 0o757), "GID 7 can write"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkTrust(tt.self, tt.candidate, tt.running)
			switch {
			case tt.found == "" && err != nil:
				t.Error(err)
			case tt.found != "" && (err == nil || !strings.Contains(err.Error(), tt.found) || isNotYet(err)):
				t.Errorf("%v: not a lasting refusal with %q", err, tt.found)
			}
		})
	}
}
