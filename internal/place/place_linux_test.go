package place

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }

// A site has an executable at app, and files beside its directory.
type site struct {
	testing.TB
	dir, app string
}

func newSite(t testing.TB) *site {
	s := &site{t, t.TempDir(), ""}
	s.app = filepath.Join(s.dir, "srv", "app")
	s.must(os.Mkdir(filepath.Dir(s.app), 0o755))
	s.write(s.app, "one")
	s.must(os.Chmod(s.app, 0o755))
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) write(path, content string) string {
	s.Helper()
	s.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}

// source returns a new file outside of the directory of the executable.
func (s *site) source(content string) string { return s.write(filepath.Join(s.dir, "new"), content) }

func (s *site) deploy(source, path string, rollback bool) (Result, error) {
	p, err := Prepare(context.Background(), source, path, rollback, 0)
	if err != nil {
		return Result{}, err
	}
	defer p.Close()
	return p.Commit(context.Background())
}

func (s *site) mustDeploy(source string, rollback bool) Result {
	s.Helper()
	r, err := s.deploy(source, s.app, rollback)
	s.must(err)
	return r
}

// want compares the files in the directory of the executable, as name=content.
func (s *site) want(files ...string) {
	s.Helper()
	var got []string
	entries, err := os.ReadDir(filepath.Dir(s.app))
	s.must(err)
	for _, e := range entries {
		b, _ := os.ReadFile(filepath.Join(filepath.Dir(s.app), e.Name()))
		got = append(got, e.Name()+"="+string(b))
	}
	if !slices.Equal(got, files) {
		s.Errorf("the directory has %q, want %q", got, files)
	}
}

func TestPreviousVersionIsKept(t *testing.T) {
	s := newSite(t)
	before, err := os.Stat(s.app)
	s.must(err)
	r := s.mustDeploy(s.source("two"), false)
	if r.Target != s.app || r.Previous != s.app+".previous" || r.Warnings != nil {
		t.Errorf("%+v", r)
	}
	s.want("app=two", "app.previous=one")
	kept, err := os.Stat(s.app + ".previous")
	if err != nil || !os.SameFile(before, kept) {
		t.Errorf("the previous version is a copy, not a link: %v", err)
	}
	s.mustDeploy(s.source("three"), false)
	s.want("app=three", "app.previous=two")
	s.mustDeploy("", true)
	s.want("app=two", "app.previous=three")
	s.mustDeploy("", true)
	s.want("app=three", "app.previous=two")
	if b, _ := os.ReadFile(filepath.Join(s.dir, "new")); string(b) != "three" {
		t.Errorf("the new file has been changed: %q", b)
	}
}

// Signatures are put in place with their executable, and come back with it.
func TestSignatures(t *testing.T) {
	s := newSite(t)
	s.write(s.app+".sig", "sig one")
	s.write(s.source("two")+".sig", "sig two")
	s.mustDeploy(filepath.Join(s.dir, "new"), false)
	s.want("app=two", "app.previous=one", "app.previous.sig=sig one", "app.sig=sig two")
	s.mustDeploy("", true)
	s.want("app=one", "app.previous=two", "app.previous.sig=sig two", "app.sig=sig one")

	s.must(os.Remove(filepath.Join(s.dir, "new.sig")))
	r := s.mustDeploy(s.source("three"), false)
	s.want("app=three", "app.previous=one", "app.previous.sig=sig one", "app.sig=sig one")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "is the signature of the previous version") {
		t.Errorf("warnings %q", r.Warnings)
	}

	// A version without a signature has none of an earlier version when it comes back.
	s.must(os.Remove(s.app + ".sig"))
	s.mustDeploy(s.source("four"), false)
	s.want("app=four", "app.previous=three")
	info, err := os.Stat(s.app)
	s.must(err)
	s.write(s.source("five")+".sigph", "sig five")
	s.mustDeploy(filepath.Join(s.dir, "new"), false)
	signature, err := os.Stat(s.app + ".sigph")
	s.must(err)
	if info.Mode().Perm() != 0o755 || signature.Mode().Perm() != 0o644 {
		t.Errorf("modes %v, %v", info.Mode(), signature.Mode())
	}
}

// What can't be put in place is refused, with a reason, and nothing is changed.
func TestRefused(t *testing.T) {
	s := newSite(t)
	link := filepath.Join(s.dir, "same")
	s.must(os.Link(s.app, link))
	fifo := filepath.Join(s.dir, "fifo")
	s.must(unix.Mkfifo(fifo, 0o644))
	ok := s.source("two")
	for name, test := range map[string]struct {
		source, path string
		rollback     bool
		want         string
	}{
		"no PATH":             {ok, s.app + "x", false, "no such file"},
		"PATH is a directory": {ok, filepath.Dir(s.app), false, "found no regular file, expected an executable"},
		"PATH below a file":   {ok, s.app + "/x", false, "not a directory"},
		"no NEW":              {ok + "x", s.app, false, "no such file"},
		"NEW is empty":        {s.write(filepath.Join(s.dir, "empty"), ""), s.app, false, "found an empty file"},
		"NEW is a directory":  {s.dir, s.app, false, "found no regular file"},
		"NEW is a FIFO":       {fifo, s.app, false, "found no regular file"},
		"NEW is PATH":         {s.app, s.app, false, "the very file that is to be replaced"},
		"NEW is linked":       {link, s.app, false, "the very file that is to be replaced"},
		"no previous version": {"", s.app, true, "there is no previous version"},
	} {
		_, err := s.deploy(test.source, test.path, test.rollback)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	s.want("app=one")
	s.must(os.Mkdir(s.app+".previous", 0o755))
	if _, err := s.deploy(ok, s.app, false); err == nil || !strings.Contains(err.Error(), "found a directory, expected a name for the previous version") {
		t.Error(err)
	}
	s.want("app=one", "app.previous=")
}

// A signature that is a link would be replaced, and could not be rolled back.
func TestSignatureIsLink(t *testing.T) {
	s := newSite(t)
	s.write(s.app+".real", "signature of one")
	s.must(os.Symlink("app.real", s.app+".sig"))
	source := s.source("two")
	for _, signed := range []bool{false, true} {
		if signed {
			s.write(source+".sig", "signature of two")
		}
		_, err := s.deploy(source, s.app, false)
		if err == nil || !strings.Contains(err.Error(), "app.sig: found no regular file, expected a signature") {
			t.Errorf("NEW is signed: %v: %v", signed, err)
		}
		s.want("app=one", "app.real=signature of one", "app.sig=signature of one")
	}
}

// An executable that can't be replaced keeps its signature.
func TestSignatureStaysWithExecutable(t *testing.T) {
	for _, signed := range []bool{false, true} {
		s := newSite(t)
		files := []string{"app=one"}
		if signed {
			s.write(s.app+".sig", "signature of one")
			files = append(files, "app.sig=signature of one")
		}
		source := s.source("two")
		s.write(source+".sig", "signature of two")
		p, err := Prepare(context.Background(), source, s.app, false, 0)
		s.must(err)
		s.must(os.Remove(p.New())) // so that the rename fails
		if _, err := p.Commit(context.Background()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("signed: %v: %v", signed, err)
		}
		p.Close()
		s.want(files...)
	}
}

// A context that ends, and a file that was replaced meanwhile, leave everything as it is.
func TestNothingIsLeft(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	p, err := Prepare(ctx, s.source("two"), s.app, false, 0)
	s.must(err)
	s.must(os.Rename(s.write(filepath.Join(s.dir, "other"), "other"), s.app))
	if _, err := p.Commit(ctx); err == nil || !strings.Contains(err.Error(), "found a file that was replaced meanwhile") {
		t.Error(err)
	}
	p.Close()
	s.want("app=other")

	waits, err := Prepare(ctx, s.source("two"), s.app, false, 0)
	s.must(err)
	ended := make(chan error, 1)
	go func() {
		_, err := Prepare(ctx, s.source("two"), s.app, false, 0) // the directory is locked
		ended <- err
	}()
	stopped := errors.New("stopped")
	cancel(stopped)
	if err, _ := testprocess.Receive(t, "end of Prepare", ended); err != stopped {
		t.Error(err)
	}
	waits.Close()
	s.want("app=other")
}

// Deploys at the same time follow each other, and none loses the version before it.
func TestDeploysFollowEachOther(t *testing.T) {
	s := newSite(t)
	var all sync.WaitGroup
	for i := range 20 {
		source := s.write(filepath.Join(s.dir, fmt.Sprint("new", i)), fmt.Sprint("version ", i))
		all.Go(func() {
			if _, err := s.deploy(source, s.app, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(filepath.Dir(s.app))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

// The directory may be swapped, or a link of the path, while a file is on its way.
func TestDirectoryIsSwapped(t *testing.T) {
	s := newSite(t)
	link := filepath.Join(s.dir, "link")
	s.must(os.Symlink(s.app, link))
	p, err := Prepare(context.Background(), s.source("two"), link, false, 0)
	s.must(err)
	defer p.Close()
	moved := filepath.Join(s.dir, "moved")
	s.must(os.Rename(filepath.Dir(s.app), moved))
	s.must(os.Mkdir(filepath.Dir(s.app), 0o755))
	s.write(s.app, "stranger")
	if _, err := p.Commit(context.Background()); err != nil {
		t.Error(err)
	}
	s.want("app=stranger")
	if b, _ := os.ReadFile(filepath.Join(moved, "app")); string(b) != "two" {
		t.Errorf("%q", b)
	}
}

// Mode, owner, ACL, capabilities and attributes are those of the file that is replaced.
func TestAttributesAreKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	s := newSite(t)
	s.must(os.Chown(s.app, 12, 34))
	s.must(unix.Chmod(s.app, 0o6755))
	const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service=ep
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\x4d\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
	want := map[string]string{"security.capability": capability, "user.origin": "a package", accessACL: acl}
	for name, value := range want {
		if err := unix.Setxattr(s.app, name, []byte(value), 0); err == unix.ENOTSUP {
			delete(want, name)
		} else {
			s.must(err)
		}
	}
	for range 2 { // also when a version comes back
		s.mustDeploy(s.source("two"), false)
		s.mustDeploy("", true)
		info, err := os.Stat(s.app)
		s.must(err)
		st := info.Sys().(*syscall.Stat_t)
		if st.Uid != 12 || st.Gid != 34 || st.Mode&0o7777 != 0o6755 {
			t.Errorf("owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode)
		}
		for name, value := range want {
			b := make([]byte, 1000)
			n, err := unix.Getxattr(s.app, name, b)
			if err != nil || string(b[:n]) != value {
				t.Errorf("%s: %q, %v", name, b[:max(n, 0)], err)
			}
		}
	}
	if len(want) == 0 {
		t.Error("no attribute was tried")
	}
}

// In a directory with a default ACL, the new file has the permissions of the old one nevertheless.
func TestDefaultACLDoesNotCount(t *testing.T) {
	s := newSite(t)
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x4d\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
	if err := unix.Setxattr(filepath.Dir(s.app), "system.posix_acl_default", []byte(acl), 0); err != nil {
		t.Skip("no ACLs here:", err)
	}
	s.mustDeploy(s.source("two"), false)
	if n, err := unix.Getxattr(s.app, accessACL, nil); err != unix.ENODATA {
		t.Errorf("the new file has an ACL: %d, %v", n, err)
	}
}

// A user who may replace the file, but not keep its owner, is told so before anything has changed.
func TestOwnerCannotBeKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	s := newSite(t)
	s.must(os.Chmod(filepath.Dir(s.app), 0o777))
	for dir := s.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		s.must(os.Chmod(dir, 0o755))
	}
	source := s.source("two")
	cmd := exec.Command("/proc/self/exe", source, s.app)
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "deploy"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	text, err := cmd.CombinedOutput()
	if want := s.app + ": cannot keep the owner 0:0 (operation not permitted); deploy as root"; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%v: %s; want %s", err, text, want)
	}
	s.want("app=one")
}

// deploy puts its first argument in the place of its second, and says why it can't.
var _ = testprocess.RegisterHelper("deploy", func() {
	p, err := Prepare(context.Background(), os.Args[1], os.Args[2], false, 0)
	if err == nil {
		_, err = p.Commit(context.Background())
	}
	fmt.Println(err)
})

// On a file system without hard links, and of a file that may not be linked, the previous version is a copy.
func TestPreviousVersionIsCopied(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "without links"))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

var _ = testprocess.RegisterHelper("without links", func() {
	if err := forcefallback.DenyAll(
		forcefallback.Denial{Call: unix.SYS_LINKAT, Arg: -1, Errno: unix.EPERM},
		forcefallback.Denial{Call: unix.SYS_COPY_FILE_RANGE, Arg: -1, Errno: unix.ENOSYS},
		forcefallback.Denial{Call: unix.SYS_FLOCK, Arg: -1, Errno: unix.ENOLCK},
	); err != nil {
		fmt.Println("skip", err)
		return
	}
	dir, err := os.MkdirTemp("", "place")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	app := filepath.Join(dir, "app")
	for path, content := range map[string]string{app: "one", app + ".sig": "sig one", dir + "/new": "two", dir + "/new.sig": "sig two"} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			panic(err)
		}
	}
	p, err := Prepare(context.Background(), dir+"/new", app, false, 0)
	if err == nil {
		_, err = p.Commit(context.Background())
	}
	if err != nil {
		panic(err)
	}
	for path, want := range map[string]string{app: "two", app + ".sig": "sig two", app + ".previous": "one", app + ".previous.sig": "sig one"} {
		b, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(b) != want || info.Mode().Perm() != 0o755 {
			panic(fmt.Sprint(path, string(b), err, info.Mode()))
		}
	}
})
