package candidate

import (
	"strings"
	"testing"
)

func TestKeepsReplaced(t *testing.T) {
	const root = "60 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	for name, tt := range map[string]struct {
		content string
		want    bool
	}{
		"from another path":            {root + "66 60 8:1 /opt/app /srv/app ro shared:1 - ext4 /dev/sda1 rw\n", true},
		"over itself":                  {root + "66 60 8:1 /srv/app /srv/app ro - ext4 /dev/sda1 rw\n", false},
		"over itself, since replaced":  {root + "66 60 8:1 /srv/app//deleted /srv/app ro - ext4 /dev/sda1 rw\n", true},
		"from another file system":     {root + "66 60 8:2 /srv/app /srv/app ro - ext4 /dev/sdb1 rw\n", true},
		"over itself on another mount": {root + "64 60 8:2 / /srv rw - ext4 /dev/sdb1 rw\n66 64 8:2 /app /srv/app ro - ext4 /dev/sdb1 rw\n", false},
		"over itself below a bind mount": {root + "64 60 8:1 /data/srv /srv rw - ext4 /dev/sda1 rw\n" +
			"66 64 8:1 /data/srv/app /srv/app ro - ext4 /dev/sda1 rw\n", false},
		"the name, but below a bind mount": {root + "64 60 8:1 /data/srv /srv rw - ext4 /dev/sda1 rw\n" +
			"66 64 8:1 /srv/app /srv/app ro - ext4 /dev/sda1 rw\n", true},
		"escaped":                   {root + "66 60 8:1 /srv/a\\040b /srv/a\\040b ro - ext4 /dev/sda1 rw\n", false},
		"the mount below is hidden": {"66 60 8:1 /opt/app /srv/app ro - ext4 /dev/sda1 rw\n", false},
		"other mounts alone":        {root + "67 60 8:1 /opt/app /srv/app ro - ext4 /dev/sda1 rw\n", false},
		"cut":                       {root + "66 60 8:1 /opt/app /srv/app", false},
		"cut at once":               {root + "66", false},
		"empty":                     {"", false},
	} {
		if got := KeepsReplaced(tt.content, "66"); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

// FuzzKeepsReplaced: no content makes the parser fail, and a mount that is alone tells nothing.
func FuzzKeepsReplaced(f *testing.F) {
	f.Add("66 60 8:1 /opt/app /srv/app ro - ext4 /dev/sda1 rw\n", "66")
	f.Add("66 66 8:1 / / rw - ext4 /dev/sda1 rw\n", "66")
	f.Fuzz(func(t *testing.T, content, id string) {
		if KeepsReplaced(content, id) && strings.Count(content, "\n") == 0 && !strings.HasPrefix(content, id+" "+id+" ") {
			t.Errorf("mount %q of %q", id, content)
		}
	})
}
