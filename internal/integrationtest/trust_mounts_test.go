//go:build linux

package integrationtest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/autorestart-go/autorestart/internal/daemontest"
	"github.com/autorestart-go/autorestart/internal/daemontest/program"
	"github.com/autorestart-go/autorestart/internal/forcefallback"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// needKernelTrust skips a test about what only Linux tells of owners.
func needKernelTrust(t *testing.T) {
	t.Helper()
	needRoot(t)
	if !daemontest.HaveEvents {
		t.Skip("only Linux tells of mounts, ACLs and user namespaces")
	}
}

// startBesideMount starts a daemon in a mount namespace of its own, after a script has
// mounted a file system with version 2 as app at mnt. The arguments of the script are
// the directory of the daemon and the file of version 2. The daemon runs version 1,
// which is elsewhere.
func startBesideMount(t *testing.T, script string) *linkedDaemon {
	t.Helper()
	for _, tool := range []string{"mount", "umount", "nsenter"} {
		testprocess.NeedTool(t, tool)
	}
	l := newLinkedDaemon(t)
	l.stage(2)
	l.stage(3)
	l.Mkdir(l.in("mnt"))
	attr := ownMounts(t)
	l.Cmd.Path = "/bin/sh"
	l.Cmd.Args = []string{"sh", "-euc", "mount --make-rprivate /; " + script + `; exec "$3"`, "sh", l.dir, l.in("apps/2/app"), l.Path}
	l.Cmd.SysProcAttr = attr
	l.Start()
	l.WaitForWatch()
	return l
}

// wantMountRejected deploys what is mounted, which must be rejected, and then a version
// that is not.
func (l *linkedDaemon) wantMountRejected(texts ...string) {
	l.T.Helper()
	link := l.in("links/current")
	l.Symlink("../mnt", link+".new")
	l.Rename(link+".new", link)
	wantRejected(l.Daemon, texts...)
	l.flip(3, nil)
	l.WantRestart(3)
}

// On a FUSE file system the user who has mounted it says whose the files are. Its files
// may look like root's.
func TestRootTrustsNoFUSEOfAnotherUser(t *testing.T) {
	needKernelTrust(t)
	for _, tool := range []string{"bindfs", "fusermount3", "setpriv", "mountpoint"} {
		testprocess.NeedTool(t, tool)
	}
	needFUSE(t)
	// suid afterwards: the mount is not to be rejected for its flag nosuid.
	l := startBesideMount(t, fuseDevice+`
		echo user_allow_other >"$1/fuse.conf"
		mount --bind "$1/fuse.conf" /etc/fuse.conf
		mkdir "$1/source"
		cp "$2" "$1/source/app"
		chown -R 65534:65534 "$1/source" "$1/mnt"
		setpriv --reuid=65534 --regid=65534 --clear-groups \
			bindfs -f -o force-user=root,force-group=root,perms=755,allow_other "$1/source" "$1/mnt" &
		echo $! >"$1/bindfs.pid"
		for i in $(seq 500); do
			if mountpoint -q "$1/mnt"; then break; fi
			sleep 0.02
		done
		mount -o remount,bind,suid "$1/mnt"`)
	t.Cleanup(func() {
		// bindfs would keep its mount namespace, and itself, after the end of the daemon.
		content := testprocess.ReadFile(t, l.in("bindfs.pid"))
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(pid, syscall.SIGKILL)
	})
	inside := "/proc/" + strconv.Itoa(l.PID()) + "/root" + l.in("mnt/app")
	var st unix.Stat_t
	if err := unix.Stat(inside, &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o755 {
		t.Fatalf("%s: UID %d, mode %o, %v; want a file that looks like root's", inside, st.Uid, st.Mode, err)
	}
	l.wantMountRejected(l.in("mnt")+", ", "FUSE", "UID 65534")
}

// fuseDevice makes /dev/fuse usable for every user, in a mount namespace.
const fuseDevice = `mount -t tmpfs tmpfs "$1/mnt"
	mknod "$1/mnt/fuse" c 10 229
	chmod 666 "$1/mnt/fuse"
	test -e /dev/fuse
	mount --bind "$1/mnt/fuse" /dev/fuse
	umount -l "$1/mnt"
	: <>/dev/fuse
`

// needFUSE skips the test where no FUSE file system can be mounted.
func needFUSE(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-euc", "mount --make-rprivate /; "+fuseDevice, "sh", dir)
	cmd.SysProcAttr = ownMounts(t)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no FUSE here: %v %s", err, output)
	}
}

// On a file system mounted with nosuid the kernel gives no file its owner's rights. root
// executes no new version there, unless the running image is on it.
func TestRootTrustsNoOwnerOnNosuid(t *testing.T) {
	needKernelTrust(t)
	l := startBesideMount(t, `mount -t tmpfs -o nosuid,mode=755 tmpfs "$1/mnt"; cp "$2" "$1/mnt/app"`)
	l.wantMountRejected("a file that is on a file system mounted with nosuid")
}

// The running image is on the file system with nosuid, too.
func TestRootRestartsOnNosuid(t *testing.T) {
	needKernelTrust(t)
	t.Parallel()
	d := program.New(t)
	testprocess.NeedTool(t, "nsenter")
	m := &mountedDaemon{Daemon: d, dir: d.Path + ".d", mnt: d.Path + ".d/mnt"}
	d.Mkdir(m.dir)
	d.Mkdir(m.mnt)
	first, second := m.target(1), m.target(2)
	d.StartedAs(m.mnt + "/app")
	d.Cmd.Path = "/bin/sh"
	d.Cmd.Args = []string{"sh", "-euc", `mount --make-rprivate /; mount -t tmpfs -o nosuid,mode=755 tmpfs "$1"
		cp "$2" "$1/app"; exec "$1/app"`, "sh", m.mnt, first}
	d.Cmd.SysProcAttr = ownMounts(t)
	d.Start()
	m.watchingMount()
	m.inside(`cp "$2" "$1/new"; mv "$1/new" "$1/app"`, m.mnt, second)
	d.WantRestart(2)
}

// In a user namespace every owner that it does not know reads as the same user: that one
// owns the running image proves nothing about the other.
func TestRootOfNamespaceTrustsNoUnknownOwner(t *testing.T) {
	needKernelTrust(t)
	if err := forcefallback.UserNamespaces(); err != nil {
		t.Skip("no user namespaces here: ", err)
	}
	d := program.New(t)
	if err := os.Chown(d.Path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	d.Cmd.SysProcAttr = new(syscall.SysProcAttr)
	forcefallback.OwnUserNamespace(d.Cmd.SysProcAttr)
	d.Start()
	d.WaitForWatch()
	d.Write(d.Path+".new", daemontest.Image(t, 2))
	if err := os.Chown(d.Path+".new", 54321, 0); err != nil {
		t.Fatal(err)
	}
	d.Rename(d.Path+".new", d.Path)
	wantRejected(d, "UID 65534", "user namespace")
	if err := os.Chown(d.Path, 0, 0); err != nil {
		t.Fatal(err)
	}
	d.WantRestart(2)
}
