package architecture

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// heading is the first line of the fenced block in ARCHITECTURE.md that has the
// import rules.
const heading = "package                         may import"

var rulesBlock = regexp.MustCompile("(?ms)^```[a-z]*\n" + heading + "\n(.*?)^```$")

// A rule is a line of that block:
//
//	NAME  [PACKAGE]… [x/sys [in FILE…]] [std: PACKAGE…]
//
// An indented line continues the one before. A package of this module has the name
// of its folder, or the last element of it.
// The root package is autorestart. Only packages that stand above NAME are allowed.
// x/sys is every package of golang.org/x/sys; FILE is a pattern. After std: stand
// the only packages of the standard library that may be imported. Without std: all
// may be.
type rule struct {
	name   string
	ours   []string // full names
	sys    []string // patterns of the files that may import x/sys
	std    []string
	frugal bool // std is the whole list
}

// rules are in a map by name.
type rules map[string]*rule

// parseRules reads the rules in a Markdown file.
func parseRules(markdown string) (rules, error) {
	match := rulesBlock.FindStringSubmatch(markdown)
	if match == nil {
		return nil, fmt.Errorf("no fenced block that begins with %q", heading)
	}
	block := strings.ReplaceAll(match[1], "\n ", " ") // an indented line continues the one before
	table := make(rules)
	for line := range strings.Lines(block) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := table.add(fields); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// add adds the rule of a line.
func (table rules) add(fields []string) error {
	r := &rule{name: fields[0]}
	if table[r.name] != nil {
		return fmt.Errorf("%s stands in the table twice", r.name)
	}
	for i := 1; i < len(fields); i++ {
		switch field := fields[i]; field {
		case "x/sys":
			r.sys = []string{"*"}
		case "in":
			r.sys = nil
			for i+1 < len(fields) && strings.HasSuffix(fields[i+1], ".go") {
				i++
				r.sys = append(r.sys, fields[i])
			}
			if r.sys == nil {
				return fmt.Errorf("%s: no file after in", r.name)
			}
		case "std:":
			r.std, r.frugal = fields[i+1:], true
			i = len(fields)
		default:
			full, err := table.resolve(field)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			r.ours = append(r.ours, full)
		}
	}
	table[r.name] = r
	return nil
}

// resolve returns the full name of a package that stands further up in the table.
func (table rules) resolve(name string) (string, error) {
	if table[name] != nil {
		return name, nil
	}
	var found []string
	for full := range table {
		if path.Base(full) == name {
			found = append(found, full)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s is the name of %d packages further up in the table", name, len(found))
	}
	return found[0], nil
}

// check compares the imports of a package with its rule, and returns the violations.
func (r *rule) check(imports []fileImport) (violations []string) {
	for _, i := range imports {
		allowed := false
		switch i.kind {
		case ours:
			allowed = slices.Contains(r.ours, i.path)
		case sys:
			allowed = slices.ContainsFunc(r.sys, func(pattern string) bool {
				ok, err := path.Match(pattern, i.file)
				return ok && err == nil
			})
		case std:
			allowed = !r.frugal || slices.Contains(r.std, i.path)
		}
		if !allowed {
			violations = append(violations, fmt.Sprintf("%s: %s imports %s, which ARCHITECTURE.md does not allow", r.name, i.file, i.path))
		}
	}
	return violations
}

// checkImports compares all packages with the rules. A package without a rule and a
// rule without a package are violations, too.
func checkImports(table rules, packages map[string][]fileImport) (violations []string) {
	for name, imports := range packages {
		if r := table[name]; r != nil {
			violations = append(violations, r.check(imports)...)
		} else {
			violations = append(violations, name+": a line is missing in ARCHITECTURE.md")
		}
	}
	for name := range table {
		if packages[name] == nil {
			violations = append(violations, name+": in ARCHITECTURE.md, but there is no such package")
		}
	}
	slices.Sort(violations)
	return violations
}

// heavy are packages that would make a program that imports only the root package
// too large.
var heavy = []string{"fmt", "log", "log/slog", "net", "net/http"}

// checkSize returns the imports of heavy packages by the root package, and by those
// that it imports.
func checkSize(packages map[string][]fileImport) (violations []string) {
	needed := []string{"autorestart"}
	for i := 0; i < len(needed); i++ {
		for _, imported := range packages[needed[i]] {
			switch {
			case imported.kind == ours && !slices.Contains(needed, imported.path):
				needed = append(needed, imported.path)
			case slices.Contains(heavy, imported.path):
				violations = append(violations, fmt.Sprintf("%s: %s imports %s, which makes small programs large", needed[i], imported.file, imported.path))
			}
		}
	}
	slices.Sort(violations)
	return violations
}
