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
		regular: info.Mode().IsRegular(),
	}
}

// executable has nothing to ask here: the mode doesn't say what can be executed.
func executable(string) error { return nil }
