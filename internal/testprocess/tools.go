package testprocess

import (
	"os"
	"os/exec"
	"testing"
)

// toolPackages tells which Debian package has a tool, for those outside coreutils.
var toolPackages = map[string]string{
	"bindfs":      "bindfs",
	"dpkg":        "dpkg",
	"dpkg-deb":    "dpkg",
	"etcd":        "etcd-server",
	"fusermount3": "fuse3",
	"gcc":         "gcc",
	"getcap":      "libcap2-bin",
	"go":          "golang-go",
	"mount":       "mount",
	"mountpoint":  "util-linux",
	"nsenter":     "util-linux",
	"pivot_root":  "util-linux",
	"rsync":       "rsync",
	"setcap":      "libcap2-bin",
	"setfacl":     "acl",
	"setpriv":     "util-linux",
	"setsid":      "util-linux",
	"sh":          "dash",
	"strace":      "strace",
	"tar":         "tar",
	"umount":      "mount",
	"unshare":     "util-linux",
}

// NeedTool skips the test where a tool is missing. In CI a missing tool is a
// failure.
func NeedTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	pkg := toolPackages[name]
	if pkg == "" {
		pkg = "coreutils"
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s here: apt-get install %s", name, pkg)
	}
	t.Skipf("no %s here: apt-get install %s", name, pkg)
}

// Run runs a tool, which must succeed.
func Run(t testing.TB, name string, args ...string) {
	t.Helper()
	NeedTool(t, name)
	cmd := exec.Command(name, args...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}

// Shell runs a script with arguments.
func Shell(t testing.TB, script string, args ...string) {
	t.Helper()
	Run(t, "sh", append([]string{"-euc", script, "sh"}, args...)...)
}
