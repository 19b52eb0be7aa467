//go:build !unix

package autorestart

import (
	"os"

	"github.com/autorestart-go/autorestart/internal/candidate"
)

func statPath(path string) (candidate.ID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return candidate.ID{}, err
	}
	return fileIDOf(info), nil
}

func statFile(f *os.File) (candidate.ID, error) {
	info, err := f.Stat()
	if err != nil {
		return candidate.ID{}, err
	}
	return fileIDOf(info), nil
}

func fileIDOf(info os.FileInfo) candidate.ID {
	return candidate.ID{
		Size:    info.Size(),
		Mtime:   info.ModTime().UnixNano(),
		Perm:    uint32(info.Mode().Perm()),
		Regular: info.Mode().IsRegular(),
	}
}

func writeStderr(b []byte) { os.Stderr.Write(b) }
