package candidate_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/candidate/candidatetest"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

// Where the candidates of these tests are: at a path with a symbolic link to a directory.
const (
	launched = "/srv/current/app"
	release  = "/srv/releases/2/app" // where it leads
)

// acl returns system.posix_acl_access of entries of tag, permissions and ID.
func acl(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

// userWrites is the ACL of a file with mode 0775 that the group can't write, and one user
// can.
func userWrites(uid uint32) []byte {
	return acl([3]uint32{1, 7, 0}, [3]uint32{2, 7, uid}, [3]uint32{4, 5, 0}, [3]uint32{0x10, 7, 0}, [3]uint32{0x20, 5, 0})
}

// newTrusting returns rules of a process with rights, and a candidate of root.
func newTrusting(t *testing.T) (*candidate.Rules, *candidatetest.System) {
	t.Helper()
	rules, sys := newRules(t)
	sys.Self.Privileged = true
	sys.Mounts = mounts
	sys.Deploy(release, elftest.Program(2), 0o755)
	sys.Symlink("releases/2", "/srv/current")
	return rules, sys
}

// owned changes owner, group and mode.
func owned(uid, gid, perm uint32) func(*candidate.Entry) {
	return func(e *candidate.Entry) { e.UID, e.GID, e.Perm = uid, gid, perm }
}

// file is owned for the file itself, which is known by more than its entry.
func file(uid, gid, perm uint32) func(*candidate.ID, []byte) []byte {
	return func(id *candidate.ID, _ []byte) []byte {
		id.UID, id.GID, id.Perm = uid, gid, perm
		return nil
	}
}

func withACL(uid uint32) func(*candidate.Entry) {
	return func(e *candidate.Entry) { e.Perm, e.ACL = 0o775, userWrites(uid) }
}

// Mounts other than the one where all else is, 1.
const (
	nosuid = iota + 2
	otherNosuid
	fuse
	otherFuse
	fuseNosuid
	unknown
)

var mounts = map[uint64]candidate.Mount{
	nosuid:      {NoSUID: true},
	otherNosuid: {NoSUID: true},
	fuse:        {FUSEUser: 1000},
	otherFuse:   {FUSEUser: 1000},
	fuseNosuid:  {FUSEUser: 1000, NoSUID: true},
	unknown:     {Err: syscall.EACCES},
}

// on puts an entry on a mount.
func on(mount uint64) func(*candidate.Entry) {
	return func(e *candidate.Entry) { e.Mount = mount }
}

func TestTrust(t *testing.T) {
	const (
		current  = "the symbolic link /srv/current, which "
		releases = "the directory /srv/releases, which "
		mend     = ", or set TrustAnyOwner (this process has more rights than its user)"
		toRoot   = "one that belongs to root: chown it" + mend
	)
	type edits map[string]func(*candidate.Entry)
	inNamespace := candidate.Namespace{SomeUID: true, UID: 65534, SomeGID: true, GID: 65533}
	single := inNamespace
	single.Single = true
	for name, tt := range map[string]struct {
		file    func(*candidate.ID, []byte) []byte
		running func(*candidate.ID, []byte) []byte
		edits   edits // by path; of the running image by [candidatetest.Running]
		ids     candidate.Namespace
		found   string // "" if it is accepted
		want    string // that is expected; "" if it does not matter here
		inside  bool   // a change of the file mends it
	}{
		"all of root": {},

		// The file.
		"file of a user":                     {file: file(1000, 0, 0o755), found: "a file that belongs to UID 1000", want: toRoot, inside: true},
		"file of the running image's owner":  {file: file(1000, 0, 0o755), running: file(1000, 0, 0o755)},
		"file of root, running a user's":     {running: file(1000, 0, 0o755)},
		"file of another user than before":   {file: file(1001, 0, 0o755), running: file(1000, 0, 0o755), found: "a file that belongs to UID 1001", want: "one that belongs to root or UID 1000, the owner of the running image: chown it" + mend, inside: true},
		"file that a group writes":           {file: file(0, 5, 0o775), found: "a file that GID 5 can write", want: "one that only its owner can write: chmod g-w it" + mend, inside: true},
		"file that root's group writes":      {file: file(0, 0, 0o775), found: "a file that GID 0 can write", inside: true},
		"file that the group wrote before":   {file: file(0, 5, 0o775), running: file(0, 5, 0o775)},
		"file that another group writes":     {file: file(0, 6, 0o775), running: file(0, 5, 0o775), found: "a file that GID 6 can write", inside: true},
		"file that all write":                {file: file(0, 0, 0o757), found: "a file that everybody can write", want: "one that only its owner can write: chmod o-w it" + mend, inside: true},
		"file that all wrote before":         {file: file(0, 0, 0o757), running: file(0, 0, 0o757)},
		"all wrote before, now only a group": {file: file(0, 7, 0o775), running: file(0, 0, 0o757)},
		"set-uid and sticky bits":            {file: file(0, 0, 0o5755)},

		// The path.
		"directory of a user":        {edits: edits{"/srv/releases": owned(1000, 0, 0o755)}, found: releases + "belongs to UID 1000", want: toRoot},
		"root directory of a user":   {edits: edits{"/": owned(1000, 0, 0o755)}, found: "the directory /, which belongs to UID 1000"},
		"directory of a link":        {edits: edits{"/srv": owned(1000, 0, 0o755)}, found: "the directory /srv, which belongs to UID 1000"},
		"directory of the file":      {edits: edits{"/srv/releases/2": owned(1000, 0, 0o755)}, found: "the directory /srv/releases/2, which belongs to UID 1000"},
		"directory of a deploy user": {edits: edits{"/srv/releases": owned(1000, 0, 0o755)}, running: file(1000, 0, 0o755)},
		"directory that a group writes": {edits: edits{"/srv/releases": owned(0, 50, 0o775)}, found: releases + "GID 50 can write",
			want: "one that only its owner can write: chmod g-w it" + mend},
		"directory of a deploy group": {edits: edits{"/srv/releases": owned(0, 50, 0o2775)}, running: file(0, 50, 0o775)},
		"directory that all write":    {edits: edits{"/srv/releases": owned(0, 0, 0o777)}, found: releases + "everybody can write"},
		"sticky directory":            {edits: edits{"/srv": owned(0, 0, 0o1777)}},
		"sticky directory of a user":  {edits: edits{"/srv": owned(1000, 0, 0o1777)}, found: "the directory /srv, which belongs to UID 1000"},
		"link of a user": {edits: edits{"/srv/current": owned(1000, 0, 0o777)}, found: current + "belongs to UID 1000",
			want: "one that belongs to root: chown -h it" + mend},
		"link of a deploy user": {edits: edits{"/srv/current": owned(1000, 0, 0o777)}, running: file(1000, 0, 0o755)},
		"user's link in a sticky directory": {edits: edits{"/srv": owned(0, 0, 0o1777), "/srv/current": owned(1000, 0, 0o777)},
			found: current + "belongs to UID 1000"},
		"user's directory in a sticky one": {edits: edits{"/srv": owned(0, 0, 0o1777), "/srv/releases": owned(1000, 0, 0o755)},
			found: releases + "belongs to UID 1000"},
		// The first that is passed through.
		"several": {edits: edits{"/srv": owned(1, 0, 0o755), "/srv/current": owned(2, 0, 0o777), "/srv/releases": owned(3, 0, 0o755)},
			found: "the directory /srv, which belongs to UID 1"},

		// ACLs.
		"file with an ACL": {file: file(0, 0, 0o775), edits: edits{release: withACL(1000)}, found: "a file that UID 1000 can write by its ACL",
			want: "one that only its owner can write: setfacl -x u:1000 it" + mend, inside: true},
		"file with an ACL, as before": {file: file(0, 0, 0o775), edits: edits{release: withACL(1000), candidatetest.Running: withACL(1000)}},
		"file of who wrote before":    {file: file(1000, 0, 0o755), edits: edits{candidatetest.Running: withACL(1000)}},
		"ACL, and the group wrote before": {file: file(0, 0, 0o775), edits: edits{release: withACL(1000)}, running: file(0, 0, 0o775),
			found: "a file that UID 1000 can write by its ACL", inside: true},
		"directory with an ACL": {edits: edits{"/srv/releases": withACL(1000)}, found: releases + "UID 1000 can write by its ACL"},
		"ACL of a group": {edits: edits{"/srv/releases": func(e *candidate.Entry) {
			e.Perm = 0o775
			e.ACL = acl([3]uint32{1, 7, 0}, [3]uint32{4, 5, 0}, [3]uint32{8, 7, 50}, [3]uint32{0x10, 7, 0}, [3]uint32{0x20, 5, 0})
		}}, found: releases + "GID 50 can write by its ACL", want: "one that only its owner can write: setfacl -x g:50 it" + mend},
		"ACL that can't be read": {edits: edits{"/srv/releases": func(e *candidate.Entry) { e.Perm, e.ACLErr = 0o775, syscall.EPERM }},
			found: releases + "has an ACL that can't be read (operation not permitted)", want: "one that only its owner can write: setfacl -b it" + mend},
		"ACL of the file, which can't be read now": {file: file(0, 0, 0o775),
			edits: edits{release: func(e *candidate.Entry) { e.ACLErr = syscall.EIO }},
			found: "a file that has an ACL that can't be read (input/output error)"},
		"ACL of an unknown form": {edits: edits{"/srv/releases": func(e *candidate.Entry) { e.Perm, e.ACL = 0o775, []byte{3, 0, 0, 0} }},
			found: releases + "has an ACL that can't be read (its form is unknown)"},

		// Mounts.
		"nosuid": {edits: edits{release: on(nosuid)},
			found: "a file that is on a file system mounted with nosuid, where the kernel does not trust owners",
			want:  "one on the mount of the running image, or on one without nosuid: move it there" + mend},
		// As in /tmp and /run of most systems, below which may be other mounts.
		"directory on nosuid": {edits: edits{"/": on(nosuid), "/srv": on(nosuid), "/srv/current": on(nosuid), "/srv/releases": on(nosuid)}},
		"all on nosuid": {edits: edits{"/srv/releases": on(nosuid), "/srv/releases/2": on(nosuid), release: on(nosuid)},
			found: "a file that is on a file system mounted with nosuid, where the kernel does not trust owners"},
		"nosuid, as the running image": {edits: edits{release: on(nosuid),
			candidatetest.Running: on(nosuid)}},
		"nosuid, and the running image on another nosuid": {edits: edits{release: on(nosuid),
			candidatetest.Running: on(otherNosuid)}, found: "a file that is on a file system mounted with nosuid, where the kernel does not trust owners"},
		"FUSE of a user": {edits: edits{"/srv/releases": on(fuseNosuid)},
			found: releases + "is on a FUSE file system of UID 1000", want: "one on a file system that root has mounted: move it there" + mend},
		"root directory on FUSE of a user": {edits: edits{"/": on(fuse)},
			found: "the directory /, which is on a FUSE file system of UID 1000"},
		"FUSE of a deploy user": {edits: edits{release: on(fuse)}, running: file(1000, 0, 0o755)},
		"FUSE, as the running image": {edits: edits{release: on(fuse),
			candidatetest.Running: on(fuse)}},
		"another FUSE of the same user": {edits: edits{release: on(fuse),
			candidatetest.Running: on(otherFuse)}, found: "a file that is on a FUSE file system of UID 1000"},
		"link on FUSE of a user": {edits: edits{"/srv": on(fuse), "/srv/current": on(fuse)}, found: "the directory /srv, which is on a FUSE file system of UID 1000"},
		"mount that can't be told": {edits: edits{"/srv/releases": on(unknown)},
			found: releases + "is on a file system that another user may control (permission denied)"},
		"mount that can't be told, as the running image": {edits: edits{release: on(unknown),
			candidatetest.Running: on(unknown)}},

		// User namespaces.
		"unknown owner": {ids: inNamespace, file: file(65534, 0, 0o755), running: file(65534, 0, 0o755), inside: true,
			found: "a file that belongs to UID 65534, which stands for all that are unknown in this user namespace", want: toRoot},
		"unknown group": {ids: inNamespace, file: file(0, 65533, 0o775), running: file(0, 65533, 0o775), inside: true,
			found: "a file that GID 65533, which stands for all that are unknown in this user namespace, can write"},
		"unknown owner of a directory": {ids: inNamespace, edits: edits{"/srv": owned(65534, 0, 0o755)},
			found: "the directory /srv, which belongs to UID 65534, which stands for all that are unknown in this user namespace"},
		"unknown user in an ACL": {ids: inNamespace, edits: edits{"/srv": withACL(1<<32 - 1)}, running: file(1<<32-1, 0, 0o755),
			found: "the directory /srv, which UID 4294967295, which stands for all that are unknown in this user namespace, can write by its ACL"},
		"known owner in a namespace": {ids: inNamespace, file: file(1000, 0, 0o755), running: file(1000, 0, 0o755)},
		"nobody in no namespace":     {file: file(65534, 0, 0o755), running: file(65534, 0, 0o755)},
		"directories of the system, for one user": {ids: single, edits: edits{"/": owned(65534, 65533, 0o755), "/srv": owned(65534, 65533, 0o1777),
			"/srv/releases": owned(65534, 65533, 0o775)}},
		"file of another user, for one user": {ids: single, file: file(65534, 0, 0o755), inside: true,
			found: "a file that belongs to UID 65534, which stands for all that are unknown in this user namespace"},
		"link of another user, for one user": {ids: single, edits: edits{"/srv/current": owned(65534, 0, 0o777)},
			found: current + "belongs to UID 65534, which stands for all that are unknown in this user namespace"},
		"directory of everybody, for one user": {ids: single, edits: edits{"/srv": owned(65534, 0, 0o777)}, found: "the directory /srv, which everybody can write"},
	} {
		t.Run(name, func(t *testing.T) {
			rules, sys := newTrusting(t)
			sys.IDs = tt.ids
			if tt.file != nil {
				sys.Change(release, tt.file)
			}
			if tt.running != nil {
				sys.Change(running, tt.running)
			}
			for path, edit := range tt.edits {
				sys.Edit(path, edit)
			}
			c := openAt(t, sys, launched)
			r := rules.Judge(c)
			if tt.found == "" {
				if r != nil {
					t.Error(r)
				}
				return
			}
			if r == nil || r.Found != tt.found || tt.want != "" && r.Expected != tt.want || r.Path != launched || r.Retryable || r.Outside == tt.inside {
				t.Errorf("got %+v, want %q, %q, outside: %t", r, tt.found, tt.want, !tt.inside)
			}
			wantLifted(t, rules, sys, c)
		})
	}
}

// TestTrustWithoutWalk: a process without rights, and one that trusts any owner, don't
// look at the path.
func TestTrustWithoutWalk(t *testing.T) {
	rules, sys := newTrusting(t)
	sys.EntryFaults = map[string]error{"/": errors.New("looked at")}
	c := openAt(t, sys, launched)
	if r := rules.Judge(c); r == nil || r.Found != "no file that can be read (looked at)" || !r.Retryable {
		t.Errorf("with rights: %v", r)
	}
	wantLifted(t, rules, sys, c)
}

// wantLifted shows that a candidate is accepted by a process that trusts any owner, and by
// one without rights.
func wantLifted(t *testing.T, rules *candidate.Rules, sys *candidatetest.System, c *candidate.Candidate) {
	t.Helper()
	rules.TrustAnyOwner = true
	if r := rules.Judge(c); r != nil {
		t.Errorf("trusting any owner: %v", r)
	}
	rules.TrustAnyOwner, sys.Self.Privileged = false, false
	if r := rules.Judge(c); r != nil {
		t.Errorf("without rights: %v", r)
	}
}

// TestTrustOrder: nothing is looked up in a directory, and no link is followed, before it
// has been judged.
func TestTrustOrder(t *testing.T) {
	for _, path := range []string{"/", "/srv", "/srv/current", "/srv/releases", "/srv/releases/2"} {
		rules, sys := newTrusting(t)
		sys.Edit(path, owned(1000, 0, 0o755))
		// Everything that comes later on the way.
		later := map[string][]string{
			"/":               {"/srv", "/srv/current", "/srv/releases", "/srv/releases/2", release},
			"/srv":            {"/srv/current", "/srv/releases", "/srv/releases/2", release},
			"/srv/current":    {"/srv/releases", "/srv/releases/2", release},
			"/srv/releases":   {"/srv/releases/2", release},
			"/srv/releases/2": {release},
		}[path]
		sys.EntryFaults = map[string]error{}
		for _, name := range later {
			sys.EntryFaults[name] = errors.New("looked at too soon")
		}
		if r := rules.Judge(openAt(t, sys, launched)); r == nil || !strings.HasSuffix(r.Found, path+", which belongs to UID 1000") {
			t.Errorf("%s: %v", path, r)
		}
	}
}

// TestTrustOfAnotherFile: what is judged is the file that was opened.
func TestTrustOfAnotherFile(t *testing.T) {
	for name, change := range map[string]func(*candidatetest.System){
		"replaced": func(sys *candidatetest.System) { sys.Deploy(release, elftest.Program(2), 0o755) },
		"link changed": func(sys *candidatetest.System) {
			sys.Deploy("/srv/releases/3/app", elftest.Program(2), 0o755)
			sys.Symlink("releases/3", "/srv/current")
		},
		"file is a link": func(sys *candidatetest.System) {
			sys.Remove(release)
			sys.Symlink("../../running", release)
		},
	} {
		rules, sys := newTrusting(t)
		c := openAt(t, sys, launched)
		if r := rules.Judge(c); r != nil {
			t.Errorf("%s: before: %v", name, r)
		}
		change(sys)
		if r := rules.Judge(c); r == nil || !r.Retryable || r.Found != "a file that was changed while it was looked at" {
			t.Errorf("%s: %v", name, r)
		}
	}
	// An entry that is missing by now may come back.
	rules, sys := newTrusting(t)
	c := openAt(t, sys, launched)
	sys.Remove(release)
	if r := rules.Judge(c); r == nil || !r.Retryable || !errors.Is(r.Err, syscall.ENOENT) {
		t.Errorf("removed: %v", r)
	}
}

// TestTrustWithoutRunningEntry: owner and mode of the running image were known when the
// process started.
func TestTrustWithoutRunningEntry(t *testing.T) {
	for _, uid := range []uint32{1000, 1001} {
		_, sys := newTrusting(t)
		sys.Change(running, file(1000, 0, 0o755))
		sys.Change(release, file(uid, 0, 0o755))
		rules := candidate.NewRules(withoutRunningEntry{sys}, running)
		r := rules.Judge(openAt(t, sys, launched))
		if trusted := r == nil; trusted != (uid == 1000) {
			t.Errorf("UID %d: %v", uid, r)
		}
		rules.Close()
	}
}

type withoutRunningEntry struct{ candidate.System }

func (withoutRunningEntry) RunningEntry() (candidate.Entry, error) {
	return candidate.Entry{}, syscall.ENOENT
}

func TestCredentialsOf(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		uid, euid, gid, egid int
		privileged           bool
	}{
		{"root", 0, 0, 0, 0, true},
		{"user", 1000, 1000, 100, 100, false},
		{"root's group", 1000, 1000, 0, 0, false},
		{"setuid", 1000, 2000, 100, 100, true},
		{"setuid root", 1000, 0, 100, 100, true},
		{"root as a user", 0, 1000, 100, 100, true},
		{"setgid", 1000, 1000, 100, 200, true},
	} {
		if got := candidate.CredentialsOf(tt.uid, tt.euid, tt.gid, tt.egid); got.Privileged != tt.privileged {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

// TestTrustOfAnotherUntrustedFile: that another file at the path is rejected says nothing of the one
// that was opened, which may be back at the next look.
func TestTrustOfAnotherUntrustedFile(t *testing.T) {
	rules, sys := newTrusting(t)
	c := openAt(t, sys, launched)
	sys.Deploy("/srv/releases/3/app", elftest.Program(3), 0o755)
	sys.Change("/srv/releases/3/app", file(1000, 0, 0o755))
	sys.Symlink("releases/3", "/srv/current")
	if r := rules.Judge(c); r == nil || !r.Retryable {
		t.Errorf("another file: %+v", r)
	}
	sys.Symlink("releases/2", "/srv/current")
	if r := rules.Judge(c); r != nil {
		t.Errorf("back: %v", r)
	}
}

// TestTrustWhileRunningEntryFails: that the owner of the running image can't be told now is no reason
// to reject a candidate for good.
func TestTrustWhileRunningEntryFails(t *testing.T) {
	rules, sys := newTrusting(t)
	sys.Edit(candidatetest.Running, owned(1000, 0, 0o755)) // since the start
	sys.Change(release, file(1000, 0, 0o755))
	rules.System = failingRunningEntry{sys}
	c := openAt(t, sys, launched)
	if r := rules.Judge(c); r == nil || !r.Retryable {
		t.Errorf("rejected: %+v", r)
	}
	rules.System = sys
	if r := rules.Judge(c); r != nil {
		t.Errorf("later: %v", r)
	}
}

type failingRunningEntry struct{ *candidatetest.System }

func (failingRunningEntry) RunningEntry() (candidate.Entry, error) {
	return candidate.Entry{}, syscall.ENOMEM
}
