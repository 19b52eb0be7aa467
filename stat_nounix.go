//go:build !unix

package autorestart

import "os"

func statPath(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	return fileIDOf(info), nil
}

func statFile(f *os.File) (fileID, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	return fileIDOf(info), nil
}

func fileIDOf(info os.FileInfo) fileID {
	return fileID{
		size:    info.Size(),
		mtime:   info.ModTime().UnixNano(),
		perm:    uint32(info.Mode().Perm()),
		regular: info.Mode().IsRegular(),
	}
}

// mayExecute has nothing to ask here: the mode doesn't say what can be executed.
func mayExecute(string, fileID) error { return nil }

// privileges: there is nobody here whom this package protects the process from.
func privileges() credentials { return credentials{} }
