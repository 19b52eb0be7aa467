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

// bannedWords are words of this project's own that had other names in the field.
// They must not come back. A pattern matches whole words of plainWords.
var bannedWords = []struct{ pattern, instead string }{
	{`heirlooms?|bequests?|bequeath\w*|estates?`, "passed file, handover state"},
	{`orphanages?|of nobody`, "orphan reaper, orphan"},
	{`(take|takes|taken|taking|took) back|presentable reason|way back`, "roll back, rollback"},
	{`probation|probations`, "trial"},
	{`unfit|refusals?|refused versions?`, "rejected, rejection"},
	{`bring to rest|brought to rest|rest to return`, "drain"},
	{`hush|hushed|bells?`, "delay before GOAWAY, wake-up"},
	{`rungs?|ladders?|bad ?input`, "fallback, hostile children"},
	{`rehears\w*|become leader|quieten`, "prewarm, adopt the leader's attributes, ignore signals"},
	{`patience|tenures?`, "what it is"},
	{`somebody`, "the caller, the receiver, another process"},
}

// exempt are the files that may have these words.
var exempt = []string{"CHANGELOG.md", "internal/architecture/words_test.go"}

func TestWords(t *testing.T) {
	violations, err := words(module(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		t.Error(violation)
	}
}

// words checks the names and lines of all Go and Markdown files.
func words(tree fs.FS) (violations []string, err error) {
	var banned []*regexp.Regexp
	var patterns []string
	for _, word := range bannedWords {
		banned = append(banned, regexp.MustCompile(`\b(?:`+word.pattern+`)\b`))
		patterns = append(patterns, word.pattern)
	}
	some := regexp.MustCompile(`\b(?:` + strings.Join(patterns, "|") + `)\b`) // one search is faster than many
	err = walk(tree, func(name string) error {
		if !slices.Contains([]string{".go", ".md"}, path.Ext(name)) || slices.Contains(exempt, name) {
			return nil
		}
		b, err := fs.ReadFile(tree, name)
		number := 0 // 0 is the name of the file
		for line := range strings.Lines(name + "\n" + string(b)) {
			line = plainWords(line)
			if !some.MatchString(line) {
				number++
				continue
			}
			for i, pattern := range banned {
				if word := pattern.FindString(line); word != "" {
					violations = append(violations, fmt.Sprintf("%s:%d: %q; the word is %q", name, number, word, bannedWords[i].instead))
				}
			}
			number++
		}
		return err
	})
	return violations, err
}

// plainWords returns the words of a line in lower case, those of identifiers one by
// one, separated by spaces.
func plainWords(line string) string {
	var words strings.Builder
	before := ' '
	for _, r := range line {
		letter := 'a' <= r|0x20 && r|0x20 <= 'z'
		if !letter && before != ' ' || 'A' <= r && r <= 'Z' && ('a' <= before && before <= 'z' || '0' <= before && before <= '9') {
			words.WriteByte(' ')
		}
		if letter {
			words.WriteRune(r | 0x20)
		}
		if before = r; !letter && !('0' <= r && r <= '9') {
			before = ' '
		}
	}
	return words.String()
}

func TestBannedWords(t *testing.T) {
	const name = "x.go"
	for _, line := range []string{
		"// An Heirloom.", "type estate struct{}", "var estateOf int", "func Bequeath()", "s.orphanage()",
		"is taken back", "takes back", "a took-back version", "// the way back", "onProbation(t)", "unfitFile",
		"a Refusal", "bringToRest()", "hushFor(t)", "// Hush.", "rungEnv", "testRung(t)", "rungs", "Ladder", "rehearse()",
		"becomeLeader()", "Quieten", "bell.go", "doorBells(bell)", "const patience = 1", "Patience", "patienceFor",
		"tenure.go", "Somebody else",
	} {
		violations, err := words(fstest.MapFS{name: source("package p\n" + line + "\n")})
		if err != nil {
			t.Fatal(err)
		}
		if len(violations) == 0 || !strings.HasPrefix(violations[0], "x.go:2: ") {
			t.Errorf("%s: got %q", line, violations)
		}
	}
	for _, line := range []string{
		"restate it", "take it back", "connection refused",
		"the rest of the file", "SO_LINGER", "the user nobody", "wrung, strung", "benefit",
		"goes back", "thrush and thrushes", "inherited",
	} {
		violations, err := words(fstest.MapFS{name: source(line + "\n"), "CHANGELOG.md": source("probation")})
		if err != nil || len(violations) > 0 {
			t.Errorf("%s: got %q, %v", line, violations, err)
		}
	}
	violations, err := words(fstest.MapFS{"probation.go": source("package p\n")})
	if err != nil || len(violations) != 1 || !strings.HasPrefix(violations[0], "probation.go:0: ") {
		t.Errorf("name of a file: got %q, %v", violations, err)
	}
}
