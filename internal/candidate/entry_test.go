package candidate

import (
	"strings"
	"testing"
)

func TestParseIDMap(t *testing.T) {
	for content, want := range map[string][2]bool{
		"         0          0 4294967295\n":                                   {true, false},
		"0 0 4294967295":                                                       {},
		"         0          0 4294967294\n":                                   {},
		"         0       1000          1\n":                                   {false, true},
		"      1000       1000          1\n":                                   {false, true},
		"         0          0          1\n":                                   {}, // root of a namespace of root's
		"         0     100000      65536\n":                                   {},
		"         0       1000          1\n         1     100000      65536\n": {},
		"         0          0 4294967295\n         0          0          0\n": {},
		"":                     {},
		"\n":                   {},
		"0 0\n":                {},
		"0 0 4294967295 0\n":   {},
		"0 0 4294967296\n":     {},
		"-1 1000 1\n":          {},
		"0 0x3e8 1\n":          {},
		"0 1000 1\n0 1000 1":   {},
		"0\x000 4294967295\n":  {},
		"0 99999999999999 1\n": {},
	} {
		if all, single := ParseIDMap(content); all != want[0] || single != want[1] {
			t.Errorf("%q: %t, %t; want %t", content, all, single, want)
		}
	}
}

// Lines as the kernel writes them.
const (
	rootLine   = "25 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw\n"
	bindfsLine = "66 60 0:40 / /home/u/mnt rw,nosuid,nodev,relatime - fuse /home/u/src rw,user_id=1000,group_id=1000,default_permissions,allow_other\n"
	sshfsLine  = "67 60 0:41 / /mnt/a\\040b rw,nosuid,nodev,relatime shared:30 - fuse.sshfs host:/ rw,user_id=0,group_id=0,allow_other\n"
	ntfsLine   = "68 60 8:1 / /mnt/disk rw,relatime - fuseblk /dev/sda1 rw,user_id=0,group_id=0\n"
	virtioLine = "69 60 0:42 / /host rw,relatime - virtiofs share rw\n"
)

func TestFUSEUser(t *testing.T) {
	all := rootLine + bindfsLine + sshfsLine + ntfsLine + virtioLine
	for name, tt := range map[string]struct {
		content string
		value   string
		uid     uint32
		ok      bool
	}{
		"FUSE":                    {all, "0:40", 1000, true},
		"subtype":                 {all, "0:41", 0, true},
		"block device":            {all, "8:1", 0, true},
		"virtiofs":                {all, "0:42", 0, true},
		"not FUSE":                {all, "254:0", 0, false},
		"not there":               {all, "0:4", 0, false},
		"ID":                      {all, "66", 0, false},
		"without a newline":       {strings.TrimSuffix(bindfsLine, "\n"), "0:40", 1000, true},
		"empty":                   {"", "0:40", 0, false},
		"cut before the options":  {bindfsLine[:strings.Index(bindfsLine, " rw,user_id")], "0:40", 0, false},
		"cut before the hyphen":   {bindfsLine[:strings.Index(bindfsLine, " - ")], "0:40", 0, false},
		"cut at the mount point":  {"66 60 0:40 / /home", "0:40", 0, false},
		"more fields":             {strings.Replace(bindfsLine, "\n", " rw,user_id=0\n", 1), "0:40", 0, false},
		"no user":                 {strings.Replace(bindfsLine, "user_id=1000,", "", 1), "0:40", 0, false},
		"two users":               {strings.Replace(bindfsLine, "user_id=", "user_id=0,user_id=", 1), "0:40", 0, false},
		"no number":               {strings.Replace(bindfsLine, "=1000", "=root", 1), "0:40", 0, false},
		"negative":                {strings.Replace(bindfsLine, "=1000", "=-1", 1), "0:40", 0, false},
		"too large":               {strings.Replace(bindfsLine, "=1000", "=4294967296", 1), "0:40", 0, false},
		"other option":            {strings.Replace(bindfsLine, "user_id", "xuser_id", 1), "0:40", 0, false},
		"source like options":     {strings.Replace(bindfsLine, "/home/u/src", "rw,user_id=0", 1), "0:40", 1000, true},
		"empty source":            {strings.Replace(bindfsLine, "/home/u/src", "", 1), "0:40", 1000, true},
		"mount point like fields": {strings.Replace(bindfsLine, "/home/u/mnt", `/\040-\040virtiofs`, 1), "0:40", 1000, true},
		"hyphen for a source":     {strings.Replace(bindfsLine, "/home/u/src", "-", 1), "0:40", 1000, true},
		"subtype like virtiofs":   {strings.Replace(bindfsLine, "- fuse ", "- fuse.virtiofs ", 1), "0:40", 1000, true},
	} {
		if uid, ok := FUSEUser(tt.content, tt.value); ok != tt.ok || uid != tt.uid {
			t.Errorf("%s: %d, %t; want %d, %t", name, uid, ok, tt.uid, tt.ok)
		}
	}
}

// FuzzFUSEUser: whatever names the user of a FUSE file system gives it, its line tells who
// that is.
func FuzzFUSEUser(f *testing.F) {
	f.Add("src", "fuse.sshfs", "mnt", bindfsLine)
	f.Add("", "fuse", "- virtiofs x rw,user_id=0", "")
	f.Add("rw,user_id=0", "fuse.-", "\n66 60 0:40 / / rw - fuse x rw,user_id=0", "66")
	// The kernel's mangle.
	mangle := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace
	f.Fuzz(func(t *testing.T, source, subtype, dir, rest string) {
		line := "66 60 0:40 / /" + mangle(dir) + " rw,nosuid - fuse." + mangle(subtype) + " " + mangle(source) + " rw,user_id=1000,allow_other\n"
		if uid, ok := FUSEUser(rootLine+line+rest, "0:40"); !ok || uid != 1000 {
			t.Errorf("%q: UID %d, %t", line, uid, ok)
		}
		if uid, ok := FUSEUser(rest, "0:40"); !ok && uid != 0 {
			t.Errorf("%q: UID %d, and it is not known", rest, uid)
		}
	})
}
