package architecture

import (
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	variable    = regexp.MustCompile(`\bAUTORESTART_(?:TEST|BENCH)_[A-Z0-9_]*[A-Z0-9]\b`)
	variableRow = regexp.MustCompile("(?m)^\\| `(" + variable.String() + ")` \\|")
)

// docs/CONTRIBUTING.md has a row for each variable that tests and benchmarks read.
func TestVariablesAreDocumented(t *testing.T) { wantNone(t, variables) }

// variables compares the rows in docs/CONTRIBUTING.md with the code and the scripts.
func variables(tree fs.FS) (violations []string, err error) {
	b, err := fs.ReadFile(tree, "docs/CONTRIBUTING.md")
	if err != nil {
		return nil, err
	}
	documented := make(map[string]string) // to the file that has it
	for _, row := range variableRow.FindAllStringSubmatch(string(b), -1) {
		if documented[row[1]] != "" {
			violations = append(violations, row[1]+" has two rows in docs/CONTRIBUTING.md")
		}
		documented[row[1]] = "docs/CONTRIBUTING.md"
	}
	used, err := usedVariables(tree)
	if err != nil {
		return nil, err
	}
	for name, file := range used {
		if documented[name] == "" {
			violations = append(violations, name+" has no row in docs/CONTRIBUTING.md; it is in "+file)
		}
	}
	for name := range documented {
		if used[name] == "" {
			violations = append(violations, name+" is in docs/CONTRIBUTING.md only")
		}
	}
	slices.Sort(violations)
	return violations, nil
}

// usedVariables returns the names in Go files and in .ci, each with a file.
func usedVariables(tree fs.FS) (map[string]string, error) {
	used := make(map[string]string)
	look := func(name string) error {
		b, err := fs.ReadFile(tree, name)
		for _, found := range variable.FindAllString(string(b), -1) {
			used[found] = name
		}
		return err
	}
	err := walk(tree, func(name string) error {
		if path.Ext(name) != ".go" || path.Dir(name) == "internal/architecture" {
			return nil
		}
		return look(name)
	})
	if err != nil {
		return nil, err
	}
	scripts, err := fs.Glob(tree, ".ci/*")
	if err != nil {
		return nil, err
	}
	for _, name := range scripts {
		if err := look(name); err != nil {
			return nil, err
		}
	}
	return used, nil
}

func TestVariablesCheck(t *testing.T) {
	tree := fstest.MapFS{
		"docs/CONTRIBUTING.md": source("Set `AUTORESTART_TEST_PROSE`.\n\n" +
			"| `AUTORESTART_TEST_A` | a |\n| `AUTORESTART_TEST_GONE` | b |\n| `AUTORESTART_BENCH_B_2` | c |\n| `AUTORESTART_TEST_A` | d |\n"),
		"a_test.go":                    source("package p\n\nconst a = \"AUTORESTART_TEST_A\" // with AUTORESTART_TEST_*\n"),
		"benchmarks/go.mod":            source(""),
		"benchmarks/b.go":              source("package p // AUTORESTART_BENCH_B_2=1 AUTORESTART_BENCH_C\n"),
		".ci/run":                      source("AUTORESTART_TEST_D=x AUTORESTART_HANDOVER=y\n"),
		"internal/architecture/own.go": source("package architecture // AUTORESTART_TEST_OWN\n"),
		"README.md":                    source("AUTORESTART_TEST_README\n"),
	}
	want := []string{
		"AUTORESTART_BENCH_C has no row in docs/CONTRIBUTING.md; it is in benchmarks/b.go",
		"AUTORESTART_TEST_A has two rows in docs/CONTRIBUTING.md",
		"AUTORESTART_TEST_D has no row in docs/CONTRIBUTING.md; it is in .ci/run",
		"AUTORESTART_TEST_GONE is in docs/CONTRIBUTING.md only",
	}
	got, err := variables(tree)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	used, err := usedVariables(tree)
	if names := slices.Sorted(maps.Keys(used)); err != nil || strings.Join(names, " ") !=
		"AUTORESTART_BENCH_B_2 AUTORESTART_BENCH_C AUTORESTART_TEST_A AUTORESTART_TEST_D" {
		t.Errorf("used are %q, %v", names, err)
	}
}
