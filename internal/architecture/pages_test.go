package architecture

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// What a page names is there: the pages that it links to, the tests, and the packages,
// scripts, tests and variables in its commands.
func TestPagesNameWhatIsThere(t *testing.T) { wantNone(t, checkPages) }

var (
	link        = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`) // to a file, and not to a site
	anyTestFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	patternFlag = regexp.MustCompile(`-(?:run|bench|fuzz) '?([^ ']+)'?`)
	setVariable = regexp.MustCompile(`\b[A-Z_]+=\S* `)
)

func checkPages(tree fs.FS) (violations []string, err error) {
	var tests []string
	pages := make(map[string]string)
	err = walk(tree, func(name string) error {
		isTest := strings.HasSuffix(name, "_test.go")
		if path.Ext(name) != ".md" && !isTest {
			return nil
		}
		b, err := fs.ReadFile(tree, name)
		if isTest {
			for _, found := range anyTestFunc.FindAllStringSubmatch(string(b), -1) {
				tests = append(tests, found[1])
			}
		} else {
			pages[name] = string(b)
		}
		return err
	})
	for name, page := range pages {
		missing := func(what string) { violations = append(violations, name+" names "+what+", which is not there") }
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			if _, err := fs.Stat(tree, path.Join(path.Dir(name), match[1])); err != nil {
				missing(match[1])
			}
		}
		for _, match := range namedTest.FindAllStringSubmatch(page, -1) {
			if !slices.Contains(tests, match[1]) {
				missing(match[1])
			}
		}
		for _, command := range commands(page) {
			for _, lacking := range checkCommand(tree, tests, pages["docs/CONTRIBUTING.md"], command) {
				missing(fmt.Sprintf("%s in %q", lacking, command))
			}
		}
	}
	slices.Sort(violations)
	return violations, err
}

// commands returns the lines of a page that are indented as code, outside of fenced blocks
// and lists.
func commands(page string) (lines []string) {
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case !fenced && strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "     "):
			lines = append(lines, line[4:])
		}
	}
	return lines
}

// checkCommand returns what a command names and what is not there.
func checkCommand(tree fs.FS, tests []string, contributing, command string) (missing []string) {
	for _, name := range variable.FindAllString(command, -1) {
		if !strings.Contains(contributing, "| `"+name+"` |") {
			missing = append(missing, name)
		}
	}
	folder := "."
	command = setVariable.ReplaceAllString(command, "")
	if rest, ok := strings.CutPrefix(command, "cd "); ok {
		folder, command, _ = strings.Cut(rest, " && ")
	}
	for _, match := range patternFlag.FindAllStringSubmatch(command, -1) {
		pattern, err := regexp.Compile(strings.Split(match[1], "/")[0])
		if err != nil || match[1] != "^$" && !slices.ContainsFunc(tests, pattern.MatchString) {
			missing = append(missing, match[1])
		}
	}
	words := strings.Fields(command)
	if len(words) > 1 && words[0] == "go" && words[1] == "get" && !slices.Contains(words, modulePath) {
		missing = append(missing, strings.Join(words[2:], " "))
	}
	for _, word := range words {
		if strings.HasPrefix(word, "./") || strings.HasPrefix(word, ".ci/") {
			if _, err := fs.Stat(tree, path.Join(folder, strings.TrimSuffix(word, "/..."))); err != nil {
				missing = append(missing, word)
			}
		}
	}
	return missing
}

func TestPagesCheck(t *testing.T) {
	tree := fstest.MapFS{
		"README.md": source("# P\n\n[a](docs/a.md), [b](docs/b.md#part), [gone](gone.md), [site](https://example.org/x.md)\n\n" +
			"`TestA` and `TestGone` and `TestOther.Method`\n\n" +
			"    go get " + modulePath + "\n    go get example.org/other\n" +
			"    AUTORESTART_TEST_X=1 go test -run 'TestA|TestB' ./p ./q/... ./gone\n" +
			"    AUTORESTART_TEST_Y=1 go test -run '^$' -bench . ./p\n    go test -run TestC/sub .\n" +
			"    cd p && .ci/x ./inner\n    cd p && go test ./q\n\n" +
			"- list\n      go test ./no/command\n\n```\n    go test ./in/a/fence\n```\n"),
		"docs/a.md":            source("[up](../README.md), [wrong](docs/a.md)\n"),
		"docs/b.md":            source(""),
		"docs/CONTRIBUTING.md": source("| `AUTORESTART_TEST_X` | x |\n"),
		"p/p_test.go":          source("package p\n\nfunc TestA(t *testing.T) {}\n"),
		"p/.ci/x":              source(""),
		"p/inner/i.go":         source(""),
		"q/q.go":               source(""),
	}
	want := []string{
		`README.md names ./gone in "AUTORESTART_TEST_X=1 go test -run 'TestA|TestB' ./p ./q/... ./gone", which is not there`,
		`README.md names ./q in "cd p && go test ./q", which is not there`,
		`README.md names AUTORESTART_TEST_Y in "AUTORESTART_TEST_Y=1 go test -run '^$' -bench . ./p", which is not there`,
		`README.md names TestC/sub in "go test -run TestC/sub .", which is not there`,
		`README.md names TestGone, which is not there`,
		`README.md names example.org/other in "go get example.org/other", which is not there`,
		`README.md names gone.md, which is not there`,
		`docs/a.md names docs/a.md, which is not there`,
	}
	if got, err := checkPages(tree); err != nil || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nerror %v, want\n%s", strings.Join(got, "\n"), err, strings.Join(want, "\n"))
	}
}
