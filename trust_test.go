package autorestart

import (
	"strings"
	"testing"
)

func TestCheckTrust(t *testing.T) {
	const (
		owner = 1000 // of the running image
		other = 2000
		staff = 50
	)
	root := credentials{euid: 0, privileged: true}
	setuid := credentials{euid: other, privileged: true}
	plain := credentials{euid: owner}
	file := func(uid, gid, perm uint32) fileID {
		id := fileID{regular: true, size: 1}
		id.uid, id.gid, id.perm = uid, gid, perm
		return id
	}
	tests := []struct {
		name               string
		self               credentials
		candidate, running fileID
		found              string // "" if it is trusted
	}{
		{"root's", root, file(0, 0, 0o755), file(0, 0, 0o755), ""},
		{"root's, in the place of a user's", root, file(0, 0, 0o755), file(owner, 0, 0o755), ""},
		{"the running image's owner's", root, file(owner, 0, 0o755), file(owner, 0, 0o755), ""},
		{"the process's own", setuid, file(other, 0, 0o755), file(0, 0, 0o755), ""},
		{"somebody's", root, file(other, 0, 0o755), file(owner, 0, 0o755), "a file that belongs to UID 2000"},
		{"somebody's, in the place of root's", root, file(owner, 0, 0o755), file(0, 0, 0o755), "a file that belongs to UID 1000"},
		{"somebody's, where there are no rights to gain", plain, file(other, staff, 0o777), file(owner, 0, 0o755), ""},
		{"the largest UID", root, file(1<<32-2, 0, 0o755), file(0, 0, 0o755), "a file that belongs to UID 4294967294"},

		{"everybody can write", root, file(0, 0, 0o757), file(0, 0, 0o755), "a file that everybody can write"},
		{"everybody could write before", root, file(0, 0, 0o757), file(0, 0, 0o757), ""},
		{"a group can write", root, file(0, staff, 0o775), file(0, staff, 0o755), "a file that GID 50 can write"},
		{"the group could write before", root, file(0, staff, 0o775), file(0, staff, 0o775), ""},
		{"another group could write before", root, file(0, staff, 0o775), file(0, 0, 0o775), "a file that GID 50 can write"},
		{"fewer can write than before", root, file(0, 0, 0o755), file(0, staff, 0o777), ""},
	}
	for _, test := range tests {
		err := checkTrust(test.self, test.candidate, test.running)
		if test.found == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		unfit, ok := err.(*UnfitError)
		if !ok || unfit.NotYet || unfit.Found != test.found || !strings.Contains(unfit.Expected, "TrustAnyOwner") {
			t.Errorf("%s: got %#v, want %q", test.name, err, test.found)
		}
	}
}
