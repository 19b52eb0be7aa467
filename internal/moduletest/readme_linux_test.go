//go:build !autorestart_portable

package moduletest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart/autorestarttest"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// The first program in README.md keeps the promise above it, as it is printed but for the
// port: no request is lost, a version that fails is rolled back, and the child of the
// version before is cleaned up. Clients see one PID.
func TestProgramInReadme(t *testing.T) {
	needTools(t)
	page, err := os.ReadFile(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := pageBlocks("README.md", string(page))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no program in README.md: %v", err)
	}
	address := autorestarttest.FreeAddress(t)
	program := strings.Replace(blocks[0].text, "localhost:8080", address, 1)
	if program == blocks[0].text {
		t.Fatal("the program does not listen on localhost:8080")
	}
	enterModule(t, map[string]string{"main.go": program, "child.go": withChild})
	d := autorestarttest.Start(t, autorestarttest.Program{Flags: []string{"-tags=child"}})

	url := "http://" + address
	load := d.Load(url)
	samePID := d.LoadFunc(1, func(context.Context) error {
		answer, err := get(d.Client(), url)
		if want := fmt.Sprintf(" by process %d\n", d.PID()); err == nil && !strings.HasSuffix(answer, want) {
			err = fmt.Errorf("got %q; want one that ends in %q", answer, want)
		}
		return err
	})
	children := filepath.Join("/proc", fmt.Sprint(d.PID()), "task", "*", "children")
	testprocess.WaitFor(t, "a child of the first version", func() bool { return len(readAll(t, children)) > 0 })
	d.Deploy(autorestarttest.ByRename, "-tags=")
	d.WantRestart()
	testprocess.WaitFor(t, "the end of the child", func() bool { return len(readAll(t, children)) == 0 })
	d.DeployBroken(autorestarttest.Panics)
	d.WantRollback()
	load.WantNoneLost()
	samePID.WantNoneLost()
}

// withChild is a file that has a version start a child, with the tag child.
const withChild = `//go:build child

package main

import "os/exec"

func init() { exec.Command("true").Start() }
`

// enterModule makes a module of a program that uses the library, and its folder the working directory.
func enterModule(t *testing.T, files map[string]string) {
	t.Helper()
	library := testprocess.ModuleRoot(t)
	files["go.mod"] = blockModule(library)
	files["go.sum"] = string(testprocess.ReadFile(t, filepath.Join(library, "go.sum")))
	folder := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", "off")
}

// readAll returns the content of all files that match, of which some may vanish.
func readAll(t *testing.T, pattern string) (content []byte) {
	t.Helper()
	for _, name := range testprocess.Glob(t, pattern) {
		b, _ := os.ReadFile(name)
		content = append(content, b...)
	}
	return content
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
