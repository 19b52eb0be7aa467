package moduletest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// outside is a module outside the repository, for which the modules of the
// repository are on a proxy.
type outside struct {
	folder  string
	env     []string
	version string // of the required modules; the newest
}

// newOutside makes a module. Modules that are not of the repository come from other
// proxies.
func newOutside(t *testing.T, modules []module, otherProxies string) *outside {
	t.Helper()
	temp, versions := t.TempDir(), releases(modules)
	o := &outside{folder: filepath.Join(temp, "outside"), version: versions[0]}
	proxy := filepath.Join(temp, "proxy")
	if err := serve(proxy, modules, versions); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(o.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	o.env = append(os.Environ(),
		"GOPROXY=file://"+proxy+","+otherProxies,
		"GOMODCACHE="+filepath.Join(temp, "modules"), // unreleased content, not for the user's cache
		"GOFLAGS=-mod=mod -modcacherw -trimpath",
		"GONOSUMDB="+ourModules, "GOPRIVATE=", "GONOPROXY=none", "GOWORK=off", "GOOS=", "GOARCH=",
	)
	var sums []byte // so that the checksum database is not asked
	for _, m := range modules {
		sums = append(sums, m.files["go.sum"]...)
	}
	o.write(t, "go.sum", string(sums))
	return o
}

func (o *outside) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.folder, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// build builds a program that requires modules and imports all their packages, and
// returns the paths in its module graph.
func (o *outside) build(t *testing.T, required ...module) ([]string, error) {
	t.Helper()
	program, get := "package main\n\n", []string{"get"}
	for _, m := range required {
		get = append(get, m.path+"@"+o.version)
		for _, p := range m.packages() {
			program += fmt.Sprintf("import _ %q\n", p)
		}
	}
	o.write(t, "go.mod", "module example.org/outside\n\ngo 1.26.0\n")
	o.write(t, "main.go", program+"\nfunc main() {}\n")
	for _, args := range [][]string{get, {"build", "-o", os.DevNull, "."}} {
		if _, err := o.run(args...); err != nil {
			return nil, err
		}
	}
	graph, err := o.run("list", "-m", "-f", "{{if not .Main}}{{.Path}}{{end}}", "all")
	return strings.Fields(graph), err
}

// run runs the go command in the module.
func (o *outside) run(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = o.folder, o.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

// cached returns a proxy that serves from the module cache, in which the dependencies
// of the root module are, and no others.
func cached(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("go", "-C", repository, "mod", "download").CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
	return "file://" + filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download") + ",off"
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// needTools skips the test where it can't build.
func needTools(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tool := range []string{"go", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// The root module requires golang.org/x/sys and no other module.
func TestRootModuleBuildsOutside(t *testing.T) {
	needTools(t)
	modules := repositoryModules(t)
	root := modules[0]
	for _, name := range []string{"", "/autorestarttest", "/httpserve", "/sockets", "/verify"} {
		if p := rootModule + name; !slices.Contains(root.packages(), p) {
			t.Errorf("%s is not among the packages %q", p, root.packages())
		}
	}
	graph, err := newOutside(t, modules, cached(t)).build(t, root)
	if want := []string{rootModule, "golang.org/x/sys"}; err != nil || !slices.Equal(graph, want) {
		t.Errorf("module graph %q, %v; want %q", graph, err, want)
	}
}

// Each module in contrib builds by itself, and together with the root module.
func TestContribModulesBuildOutside(t *testing.T) {
	needTools(t)
	modules := repositoryModules(t)
	if len(modules) == 1 {
		t.Skip("no modules in contrib")
	}
	proxies := goEnv(t, "GOPROXY")
	for _, m := range modules[1:] {
		t.Run(m.path, func(t *testing.T) {
			o := newOutside(t, modules, proxies)
			if _, err := o.build(t, m); err != nil {
				t.Error(err)
			}
			if _, err := o.build(t, modules[0], m); err != nil {
				t.Error("with the root module: ", err)
			}
		})
	}
	if _, err := newOutside(t, modules, proxies).build(t, modules...); err != nil {
		t.Error("all modules: ", err)
	}
}

// The tests above fail if a module in contrib builds in the repository only.
func TestModulesThatBuildInRepositoryOnly(t *testing.T) {
	needTools(t)
	const contrib = rootModule + "/contrib/fake"
	tests := map[string]struct {
		required string // version of the root module in contrib/fake/go.mod
		imports  string
		want     string // in the error
	}{
		"released version":     {required: firstOne, imports: rootModule},
		"placeholder":          {"v0.0.0-00010101000000-000000000000", rootModule, "v0.0.0-00010101000000-000000000000"},
		"version to come":      {"v99.0.0+incompatible", rootModule, "v99.0.0"},
		"later version":        {"v0.99.0", rootModule, "v0.99.0"},
		"module only in there": {firstOne, rootModule + "/benchmarks/reap", "benchmarks/reap"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{
				"contrib/fake/go.mod": []byte("module " + contrib + "\n\ngo 1.26.0\n\n" +
					"require " + rootModule + " " + tt.required + "\n\n" +
					"replace " + rootModule + " => ../..\n"),
				"contrib/fake/fake.go":     []byte("package fake\n\nimport _ \"" + tt.imports + "\"\n"),
				"contrib/fake/sub/main.go": []byte("package main\n\nfunc main() {}\n"),
			}
			root := repositoryModules(t)[0]
			delete(root.files, "CHANGELOG.md") // before the first release
			maps.Copy(files, root.files)
			modules := splitModules(files)
			if len(modules) != 2 || !slices.Equal(modules[1].packages(), []string{contrib}) {
				t.Fatalf("modules are %+v", modules)
			}
			_, err := newOutside(t, modules, cached(t)).build(t, modules[1])
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}
