// Package moduletest has a test that this module and those in contrib build in a
// module outside the repository, where a replace directive of theirs has no effect.
package moduletest

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	repository  = "../.." // from the folder where the tests run
	rootModule  = "github.com/autorestart-go/autorestart"
	firstOne    = "v0.1.0" // the version of the first release
	ourModules  = rootModule + "," + rootModule + "/*"
	releaseDate = "2006-01-02T15:04:05Z" // without a meaning
)

// A module is one of this repository, as a user gets it.
type module struct {
	path  string
	files map[string][]byte // by slash-separated name
}

// repositoryModules returns the root module and those in contrib.
func repositoryModules(t *testing.T) []module {
	t.Helper()
	out, err := exec.Command("git", "-C", repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := make(map[string][]byte)
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		file := filepath.Join(repository, filepath.FromSlash(name))
		info, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but not yet in the index
		}
		if err == nil && info.Mode().IsRegular() {
			files[name], err = os.ReadFile(file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return splitModules(files)
}

// splitModules distributes the files of a repository to its modules, and returns the
// root module and those in contrib. The files of another nested module belong to none.
func splitModules(files map[string][]byte) []module {
	var folders []string
	for name := range files {
		if path.Base(name) == "go.mod" {
			folders = append(folders, path.Dir(name))
		}
	}
	var modules []module
	for _, folder := range folders {
		if folder != "." && !strings.HasPrefix(folder, "contrib/") {
			continue
		}
		m := module{path.Join(rootModule, folder), make(map[string][]byte)}
		for name, content := range files {
			if moduleOf(name, folders) == folder {
				m.files[strings.TrimPrefix(name, folder+"/")] = content
			}
		}
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return modules
}

// moduleOf returns the folder of the module that a file belongs to.
func moduleOf(name string, folders []string) string {
	folder := path.Dir(name)
	for folder != "." && !slices.Contains(folders, folder) {
		folder = path.Dir(folder)
	}
	return folder
}

// packages returns the import paths of the packages that another module can import.
func (m module) packages() []string {
	var found []string
	for name, content := range m.files {
		folder := path.Dir(name)
		hidden := slices.ContainsFunc(strings.Split(folder, "/"), func(element string) bool {
			return element == "internal" || element == "testdata" || element != "." && strings.HasPrefix(element, ".")
		})
		isMain := strings.Contains("\n"+string(content), "\npackage main\n")
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || hidden || isMain {
			continue
		}
		if p := path.Join(m.path, folder); !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	slices.Sort(found)
	return found
}

var releaseHeading = regexp.MustCompile(`(?m)^## (v\d+\.\d+\.\d+)\b`)

// releases returns the versions that exist: those with a heading in the changelog of
// the root module, newest first. Before the first release it is the first one.
func releases(modules []module) []string {
	var versions []string
	for _, heading := range releaseHeading.FindAllStringSubmatch(string(modules[0].files["CHANGELOG.md"]), -1) {
		versions = append(versions, heading[1])
	}
	if versions == nil {
		return []string{firstOne}
	}
	return versions
}

// serve writes all modules, at all versions, into a folder that is a module proxy by
// the protocol of "go help goproxy".
func serve(folder string, modules []module, versions []string) error {
	for _, m := range modules {
		at := filepath.Join(folder, filepath.FromSlash(m.path), "@v")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, "list"), []byte(strings.Join(versions, "\n")), 0o644); err != nil {
			return err
		}
		for _, version := range versions {
			file := filepath.Join(at, version)
			info := fmt.Sprintf(`{"Version":%q,"Time":%q}`, version, releaseDate)
			if err := errors.Join(
				os.WriteFile(file+".info", []byte(info), 0o644),
				os.WriteFile(file+".mod", m.files["go.mod"], 0o644),
				m.zip(file+".zip", version),
			); err != nil {
				return err
			}
		}
	}
	return nil
}

// zip writes the module zip file of a version.
func (m module) zip(name, version string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := zip.NewWriter(f)
	for name, content := range m.files {
		entry, err := w.Create(m.path + "@" + version + "/" + name)
		if err != nil {
			return err
		}
		if _, err := entry.Write(content); err != nil {
			return err
		}
	}
	return w.Close()
}
