//go:build !linux || autorestart_portable

package autorestart

import "testing"

func TestFileIDRoundTrip(t *testing.T) {
	id := fileID{dev: 1, ino: 1<<64 - 1, size: 1 << 40, mtime: -1, ctime: 1 << 62, uid: 1<<32 - 1, gid: 5, perm: 0o755, regular: true}
	if got := parseFileID(formatFileID(id)); got != id {
		t.Errorf("got %+v, want %+v", got, id)
	}
	for _, s := range []string{"", "/", "1/2/3", "1/2/3/4/5/6/7/x/", "1/2/3/4/5/6/7/-8/"} {
		if got := parseFileID(s); got != (fileID{}) {
			t.Errorf("%q: got %+v", s, got)
		}
	}
}
