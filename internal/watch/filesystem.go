package watch

// silentFileSystems are the file systems that can change without the kernel sending
// an event, by their types as in statfs(2): on a server, in a process that serves them,
// or in a layer below.
var silentFileSystems = [...]struct {
	magic uint32
	name  string
}{
	{0x6969, "nfs"},
	{0x517b, "smb"}, {0xff534d42, "smb"}, {0xfe534d42, "smb"},
	{0x01021997, "9p"},
	{0x65735546, "fuse"},
	{0x794c7630, "overlay"},
	{0x00c36400, "ceph"},
	{0x5346414f, "afs"}, {0x6b414653, "afs"},
	{0x0bd00bd0, "lustre"},
	{0x01161970, "gfs2"},
	{0x7461636f, "ocfs2"},
	{0x73757245, "coda"},
	{0x786f4256, "vboxsf"},
}

// SilentFileSystem returns the name of a file system that can change without an
// event, by its type as in statfs(2), or "" for any other type.
func SilentFileSystem(magic uint32) string {
	for _, fs := range silentFileSystems {
		if fs.magic == magic {
			return fs.name
		}
	}
	return ""
}
