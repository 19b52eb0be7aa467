package architecture

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const troubleshooting = "docs/troubleshooting.md"

// docs/troubleshooting.md has an entry for each line that the library can log:
//
//	### `message`
//
//	    [autorestart] message key=value
//
//	**Level.** What it means.
//
//	**Do:** what the operator can do.
//
// It also has a row for each key, and one for each text of a rejection:
//
//	| `key` | value |
//	| `found` | `expected` | what to do |
func TestTroubleshootingIsComplete(t *testing.T) { wantNone(t, checkTroubleshooting) }

func checkTroubleshooting(tree fs.FS) ([]string, error) {
	b, err := fs.ReadFile(tree, troubleshooting)
	if err != nil {
		return nil, err
	}
	lines, violations, err := logLines(tree)
	if err != nil {
		return nil, err
	}
	texts, more, err := rejectionTexts(tree)
	if err != nil {
		return nil, err
	}
	violations = append(violations, more...)
	violations = append(violations, checkEntries(string(b), lines)...)
	violations = append(violations, checkKeys(string(b), lines)...)
	violations = append(violations, checkRejections(string(b), texts)...)
	slices.Sort(violations)
	return slices.Compact(violations), nil
}

var (
	entryHeading = regexp.MustCompile("^### `(.+)`\n")
	anyHeading   = regexp.MustCompile(`(?m)^#`)
	printed      = regexp.MustCompile(`(?m)^    (?:\[autorestart\] )?(.*)$`)
	printedKey   = regexp.MustCompile(`(?:^| )([a-z_]+)=`)
	keyRow       = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]+ \\|$")
	rejectionRow = regexp.MustCompile(`(?m)^\| ([^|]*) \| ([^|]*) \| [^|]+ \|$`)
	codeSpan     = regexp.MustCompile("`([^`]+)`")
)

// entries returns the text below each heading that is a message.
func entries(markdown string) map[string][]string {
	all := make(map[string][]string)
	for _, at := range anyHeading.FindAllStringIndex(markdown, -1) {
		section := markdown[at[0]:]
		if heading := entryHeading.FindStringSubmatch(section); heading != nil {
			body := section[len(heading[0]):]
			if end := anyHeading.FindStringIndex(body); end != nil {
				body = body[:end[0]]
			}
			all[heading[1]] = append(all[heading[1]], body)
		}
	}
	return all
}

// checkEntries compares entries with the lines that the library can log.
func checkEntries(markdown string, lines []logLine) (violations []string) {
	documented := entries(markdown)
	logged := make(map[string]bool)
	for _, l := range lines {
		message, _, _ := strings.Cut(l.message, "\n")
		logged[message] = true
		found := documented[message]
		if len(found) == 0 {
			violations = append(violations, message+": no entry; it is logged at "+l.at.String())
			continue
		}
		for _, problem := range checkEntry(found[0], message, l) {
			violations = append(violations, message+": "+problem)
		}
	}
	for message, found := range documented {
		if !logged[message] {
			violations = append(violations, message+": an entry for a line that is not logged")
		}
		if len(found) > 1 {
			violations = append(violations, message+": two entries")
		}
	}
	return violations
}

func checkEntry(body, message string, l logLine) (problems []string) {
	if !strings.Contains(body, "\n**"+l.level+".** ") {
		problems = append(problems, "the entry does not say **"+l.level+".**, and what it means")
	}
	if !strings.Contains(body, "\n**Do:** ") {
		problems = append(problems, "the entry does not say what to **Do:**")
	}
	example := printed.FindStringSubmatch(body)
	if example == nil {
		return append(problems, "the entry has no line as it is printed")
	}
	values := example[1]
	for part := range strings.SplitSeq(message, ellipsis) {
		_, rest, ok := strings.Cut(values, part)
		if !ok {
			problems = append(problems, "the printed line lacks "+part)
		}
		values = rest
	}
	var keys []string
	for _, key := range printedKey.FindAllStringSubmatch(values, -1) {
		keys = append(keys, key[1])
	}
	if slices.Sort(keys); !slices.Equal(keys, l.keys) {
		problems = append(problems, "the printed line has the keys "+strings.Join(keys, " ")+"; logged are "+strings.Join(l.keys, " "))
	}
	return problems
}

// checkKeys compares the table of keys with the lines.
func checkKeys(markdown string, lines []logLine) (violations []string) {
	var documented, logged []string
	for _, row := range keyRow.FindAllStringSubmatch(markdown, -1) {
		documented = append(documented, row[1])
	}
	for _, l := range lines {
		logged = append(logged, l.keys...)
	}
	return append(lacking(logged, documented, "key %s: no row"), lacking(documented, logged, "key %s: not logged")...)
}

// checkRejections compares the table of rejections with their texts.
func checkRejections(markdown string, texts []rejectionText) (violations []string) {
	documented, used := make(map[string][]string), make(map[string][]string)
	for _, row := range rejectionRow.FindAllStringSubmatch(markdown, -1) {
		for i, column := range []string{"Found", "Expected"} {
			for _, span := range codeSpan.FindAllStringSubmatch(row[i+1], -1) {
				documented[column] = append(documented[column], span[1])
			}
		}
	}
	for _, text := range texts {
		used[text.column] = append(used[text.column], text.text)
	}
	for _, column := range []string{"Found", "Expected"} {
		violations = append(violations, lacking(used[column], documented[column], column+" \"%s\": no row")...)
		violations = append(violations, lacking(documented[column], used[column], column+" \"%s\": not used")...)
	}
	return violations
}

// lacking returns format, with %s replaced, for each item that is not in the other list.
func lacking(items, other []string, format string) (violations []string) {
	for _, item := range items {
		if !slices.Contains(other, item) {
			violations = append(violations, strings.ReplaceAll(format, "%s", item))
		}
	}
	return violations
}

func TestTroubleshootingCheck(t *testing.T) {
	tree := fstest.MapFS{
		"a.go": source(`package autorestart
func f(l Logger) {
	l.Info("one", "path", "x", "n", 1)
	l.Warn("two: " + name, "path", "x")
	l.Warn("three")
	l.Error("four", "reason", "x")
	reject("a file", "an executable")
	reject("a link to " + name, "a file")
}
func reject(found, expected string) {}
`),
		troubleshooting: source("# Lines\n\n| key | value |\n|---|---|\n| `path` | a file |\n| `n` | how many |\n| `pid` | a PID |\n\n" +
			"| found | expected | what to do |\n|---|---|---|\n| `a file` | `an executable`, `a pipe` | Deploy one. |\n\n" +
			"### `one`\n\n    [autorestart] one path=/x n=1\n\n**Info.** It is there.\n\n**Do:** nothing.\n\n" +
			"### `two: …`\n\n    [autorestart] two: x paths=/x\n\n**Info.** It is there.\n\nDo nothing.\n\n" +
			"### `four`\n\n**Error.** Fails.\n\n**Do:** nothing.\n\n### `four`\n\n## More\n\n### `five`\n"),
	}
	want := []string{
		`Expected "a file": no row`,
		`Expected "a pipe": not used`,
		`Found "a link to …": no row`,
		"five: an entry for a line that is not logged",
		"four: the entry has no line as it is printed",
		"four: two entries",
		"key pid: not logged",
		"key reason: no row",
		"three: no entry; it is logged at a.go:5:9",
		"two: …: the entry does not say **Warn.**, and what it means",
		"two: …: the entry does not say what to **Do:**",
		"two: …: the printed line has the keys paths; logged are path",
	}
	got, err := checkTroubleshooting(tree)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
}
