package candidate

import (
	"strings"
	"testing"
)

func TestCheckTrust(t *testing.T) {
	root := Credentials{EUID: 0, Privileged: true}
	capable := Credentials{EUID: 1000, Privileged: true}
	plain := Credentials{EUID: 1000}
	file := func(uid, gid, perm uint32) ID { return ID{UID: uid, GID: gid, Perm: perm, Regular: true} }
	for _, tt := range []struct {
		name               string
		self               Credentials
		candidate, running ID
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
			r := checkTrust(tt.self, tt.candidate, tt.running)
			switch {
			case tt.found == "" && r != nil:
				t.Error(r)
			case tt.found != "" && (r == nil || !strings.Contains(r.Found, tt.found) || r.Retryable):
				t.Errorf("%v: not a lasting rejection with %q", r, tt.found)
			}
		})
	}
}

func TestCredentialsOf(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		uid, euid, gid, egid int
		want                 Credentials
	}{
		{"root", 0, 0, 0, 0, Credentials{EUID: 0, Privileged: true}},
		{"user", 1000, 1000, 100, 100, Credentials{EUID: 1000}},
		{"root's group", 1000, 1000, 0, 0, Credentials{EUID: 1000}},
		{"setuid", 1000, 2000, 100, 100, Credentials{EUID: 2000, Privileged: true}},
		{"setuid root", 1000, 0, 100, 100, Credentials{EUID: 0, Privileged: true}},
		{"root as a user", 0, 1000, 100, 100, Credentials{EUID: 1000, Privileged: true}},
		{"setgid", 1000, 1000, 100, 200, Credentials{EUID: 1000, Privileged: true}},
	} {
		if got := CredentialsOf(tt.uid, tt.euid, tt.gid, tt.egid); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
