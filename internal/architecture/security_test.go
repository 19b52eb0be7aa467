package architecture

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	listItem  = regexp.MustCompile(`(?m)^- (?:.*\n(?:  .*\n)*)`)
)

// Each item in docs/SECURITY.md is a sentence with the tests that show it.
func TestSecurityNamesItsTests(t *testing.T) { wantNone(t, checkSecurity) }

func checkSecurity(tree fs.FS) (violations []string, err error) {
	b, err := fs.ReadFile(tree, "docs/SECURITY.md")
	if err != nil {
		return nil, err
	}
	tests := map[string]bool{}
	err = walk(tree, func(name string) error {
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		for _, found := range testFunc.FindAllStringSubmatch(string(source), -1) {
			tests[found[1]] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, item := range listItem.FindAllString(string(b), -1) {
		item = strings.Join(strings.Fields(item), " ")
		text, _, _ := strings.Cut(item, "(`")
		named := namedTest.FindAllStringSubmatch(item, -1)
		if len(named) == 0 {
			violations = append(violations, fmt.Sprintf("%q names no test", item))
		}
		if strings.Contains(text, ". ") {
			violations = append(violations, fmt.Sprintf("%q is more than a sentence", item))
		}
		for _, test := range named {
			if !tests[test[1]] {
				violations = append(violations, fmt.Sprintf("%q names %s, which is no test", item, test[1]))
			}
		}
	}
	return violations, nil
}

func TestSecurityCheck(t *testing.T) {
	tree := fstest.MapFS{
		"docs/SECURITY.md": source("# Security\n\nProse. And more.\n\n" +
			"- One (`TestOne`).\n- Long,\n  as this (`TestOne`,\n  `FuzzTwo`).\n- None.\n- Gone (`TestGone`).\n- One. Two (`TestOne`).\n"),
		"a_test.go": source("package p\n\nfunc TestOne(t *testing.T) {}\n\nfunc FuzzTwo(f *testing.F) {}\n"),
		"b.go":      source("package p\n\nfunc TestGone(t *testing.T) {}\n"),
	}
	want := []string{
		`"- None." names no test`,
		"\"- Gone (`TestGone`).\" names TestGone, which is no test",
		"\"- One. Two (`TestOne`).\" is more than a sentence",
	}
	if got, err := checkSecurity(tree); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
