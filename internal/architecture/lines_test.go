package architecture

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A logLine is a message that the library logs.
type logLine struct {
	level   string   // Info, Warn, Error; ErrorLog for that of an http.Server
	message string   // variable parts are an ellipsis
	keys    []string // of its values, sorted; not known for a line with a format
	at      token.Position
}

// Every line is logged by a call of a method Info, Warn or Error, or of a function of this
// module that passes its parameter msg (or format) on to one. So messages are found if these
// rules hold, which logLines checks:
//
//   - The message is constant, a variable that is only ever set to constants, or begins
//     with a constant. Or it is the parameter msg itself, or a field msg, which a literal
//     sets beside the level and args.
//   - A method of a logger is only called, and not stored.
//   - A function literal has no parameter msg.
//   - Keys are constant.
//
// An empty message is no line: package report passes events on in the way of lines.
func logLines(tree fs.FS) (lines []logLine, violations []string, err error) {
	packages, err := parseLibrary(tree)
	if err != nil {
		return nil, nil, err
	}
	f := &lineFinder{packages: packages}
	for _, pkg := range packages {
		pkg.eachFunc(func(fn *function) { f.find(fn) })
	}
	slices.Sort(f.violations)
	return f.lines, f.violations, nil
}

type lineFinder struct {
	packages   map[string]*library
	lines      []logLine
	violations []string
}

func (f *lineFinder) find(fn *function) {
	called := make(map[ast.Expr]bool)
	ast.Inspect(fn.decl.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called[n.Fun] = true
			f.call(fn, n)
		case *ast.CompositeLit:
			f.literal(fn, n)
		case *ast.FuncLit:
			if paramAt(n.Type, "msg") >= 0 {
				f.violate(fn, n, "a function literal has a parameter msg")
			}
		case *ast.SelectorExpr:
			if (n.Sel.Name == "Info" || n.Sel.Name == "Warn") && !called[n] && !fn.isImport(n.X) {
				f.violate(fn, n, "the method "+n.Sel.Name+" is not called, but stored")
			}
		}
		return true
	})
}

func isLevel(name string) bool { return name == "Info" || name == "Warn" || name == "Error" }

func (f *lineFinder) violate(fn *function, n ast.Node, text string) {
	f.violations = append(f.violations, fmt.Sprintf("%v: %s", fn.position(n), text))
}

// call adds the lines of a call, if it logs any.
func (f *lineFinder) call(fn *function, call *ast.CallExpr) {
	sink, ok := f.sink(fn, call)
	if !ok {
		return
	}
	var keysAndValues []ast.Expr
	if sink.args {
		keysAndValues = call.Args[sink.at+1:]
	}
	f.add(fn, sink, call.Args[sink.at], keysAndValues)
}

// literal adds the line of a literal with the fields level, msg and args, if it is one.
func (f *lineFinder) literal(fn *function, literal *ast.CompositeLit) {
	fields := make(map[string]ast.Expr)
	for _, element := range literal.Elts {
		if field, ok := element.(*ast.KeyValueExpr); ok {
			if name, ok := field.Key.(*ast.Ident); ok {
				fields[name.Name] = field.Value
			}
		}
	}
	if fields["msg"] == nil {
		return
	}
	s := sink{args: fields["args"] != nil}
	if level, ok := fields["level"].(*ast.Ident); ok {
		s.level = levels[level.Name]
	}
	f.add(fn, s, fields["msg"], []ast.Expr{fields["args"]})
}

// add adds the lines that a message may be.
func (f *lineFinder) add(fn *function, s sink, msg ast.Expr, args []ast.Expr) {
	if fn.passesOn(msg) {
		return
	}
	messages := fn.texts(msg)
	if slices.Equal(messages, []string{""}) {
		return
	}
	if len(messages) == 0 || slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, ellipsis) }) {
		f.violate(fn, msg, "the message of a log line is not constant")
		return
	}
	keys, ok := s.keys, true
	if s.args {
		if keys, ok = fn.keys(args); !ok {
			f.violate(fn, msg, "the keys of a log line are not constant")
		}
	}
	for _, message := range messages {
		f.lines = append(f.lines, logLine{s.level, message, keys, fn.position(msg)})
	}
}

// A sink is what a function does with its message.
type sink struct {
	at    int // index of the message
	level string
	args  bool     // keys and values follow
	keys  []string // where they don't
}

// sink returns what a call does with its message, if it logs one.
func (f *lineFinder) sink(fn *function, call *ast.CallExpr) (s sink, ok bool) {
	name, pkg := "", fn.library
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		name = fun.Name
	case *ast.SelectorExpr:
		name = fun.Sel.Name
		if imported, ok := fn.imported(fun.X); ok {
			if pkg = f.packages[imported]; pkg == nil {
				return sink{}, false
			}
		} else if isLevel(name) && len(call.Args) > 0 {
			return sink{level: name, args: true}, true
		}
	}
	wrapper := pkg.funcs[name]
	if wrapper == nil {
		return sink{}, false
	}
	if s.at = paramAt(wrapper.decl.Type, "format"); s.at >= 0 {
		s.level = "ErrorLog"
		return s, len(call.Args) > s.at
	}
	if s.at = paramAt(wrapper.decl.Type, "msg"); s.at < 0 || s.at >= len(call.Args) {
		return sink{}, false
	}
	if wrapper.decl != fn.decl {
		s.level, s.keys = f.passedOn(wrapper)
	}
	for _, arg := range call.Args {
		if id, ok := arg.(*ast.Ident); ok && levels[id.Name] != "" {
			s.level = levels[id.Name]
		}
	}
	s.args = paramNamed(wrapper.decl.Type, "args")
	return s, true
}

// levels are the constants of package report.
var levels = map[string]string{"info": "Info", "warn": "Warn", "failure": "Error"}

// passedOn returns the level and the keys with which a function passes its message on.
func (f *lineFinder) passedOn(wrapper *function) (level string, keys []string) {
	ast.Inspect(wrapper.decl.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && level == "" {
			if s, ok := f.sink(wrapper, call); ok && wrapper.passesOn(call.Args[s.at]) {
				level = s.level
				keys, _ = wrapper.keys(call.Args[s.at+1:])
			}
		}
		return true
	})
	return level, keys
}

// passesOn reports whether a message is the parameter of the function, or a field that is
// set to one.
func (fn *function) passesOn(msg ast.Expr) bool {
	switch msg := msg.(type) {
	case *ast.Ident:
		return (msg.Name == "msg" || msg.Name == "format") && paramAt(fn.decl.Type, msg.Name) >= 0
	case *ast.SelectorExpr:
		return msg.Sel.Name == "msg"
	case *ast.BinaryExpr:
		return fn.passesOn(msg.X) || fn.passesOn(msg.Y)
	}
	return false
}

// keys returns every second of the arguments, sorted.
func (fn *function) keys(args []ast.Expr) (keys []string, ok bool) {
	if len(args) == 1 { // args...
		if set := fn.values(args[0]); len(set) == 1 {
			if literal, ok := set[0].(*ast.CompositeLit); ok {
				args = literal.Elts
			}
		}
	}
	for i := 0; i < len(args); i += 2 {
		key := fn.texts(args[i])
		if len(key) != 1 || strings.Contains(key[0], ellipsis) || i+1 == len(args) {
			return nil, false
		}
		keys = append(keys, key[0])
	}
	slices.Sort(keys)
	return keys, true
}

func TestLogLinesAreFound(t *testing.T) {
	tree := fstest.MapFS{
		"a.go": source(`package autorestart
import ("net/http"; "` + modulePath + `/internal/report"; "os")
const shared = "shared"
func f(l Logger, w http.ResponseWriter, err error) {
	l.Info("one", "path", "x", "n", 1)
	http.Error(w, "no line", 500)
	report.Warn("t"+"wo", "reason", err.Error())
	report.To(l).Error("panic: " + err.Error())
	warnOnce(shared)
	text := "three"
	if w != nil { text = "four" }
	args := []any{"pid", 1}
	go func() { l.Warn(text, args...) }()
	logf("five %s, %d", "x", 5)
	rejected("seven", 7)
	info, _ := os.Stat("x")
	info.Info()
}
func warnOnce(msg string, args ...any) { report.Warn(msg, args...) }
func logf(format string, args ...any) {}
func rejected(msg string, reason any) { report.To(nil).Warn(msg, "reason", reason) }
`),
		"internal/report/r.go": source(`package report
func Warn(msg string, args ...any) { process.Warn(msg, args...) }
func (l *line) write() { l.to.Info(l.msg) }
func (q *queued) Info(msg string, args ...any) { q.log(info, msg, args) }
func (q *queued) log(level level, msg string, args []any) { add(newLine(nil, level, msg, args)) }
func newLine(to Logger, level level, msg string, args []any) *line { return nil }
func event() { newLine(nil, info, "", nil) }
func lost() { newLine(nil, warn, "six", []any{"lines", 6}) }
func late() { add(&line{level: warn, msg: "eight", args: []any{"lines", 8}, dropped: 8}) }
`),
		"internal/tool/t.go": source("package tool\n\nfunc f(l Logger, msg string) { l.Info(\"no part of the library\") }\n"),
		"a_test.go":          source("package autorestart\n\nfunc g(l Logger) { l.Info(\"no part of the library\") }\n"),
	}
	lines, violations, err := logLines(tree)
	if err != nil || len(violations) > 0 {
		t.Errorf("got violations %q, %v", violations, err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.level+" "+l.message+" "+strings.Join(l.keys, ","))
	}
	slices.Sort(got)
	want := []string{
		"Error panic: … ", "ErrorLog five …, … ", "Info one n,path", "Warn eight lines", "Warn four pid", "Warn seven reason", "Warn shared ", "Warn six lines", "Warn three pid",
		"Warn two reason",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLogLinesThatCannotBeFound(t *testing.T) {
	for body, want := range map[string]string{
		`l.Info(name)`:                     "the message of a log line is not constant",
		`l.Info(name + " is new")`:         "the message of a log line is not constant",
		`m := "x"; m = name; l.Warn(m)`:    "the message of a log line is not constant",
		`l.Info("x", name, 1)`:             "the keys of a log line are not constant",
		`l.Info("x", "key")`:               "the keys of a log line are not constant",
		`log := l.Warn; log("x")`:          "the method Warn is not called, but stored",
		`l.add(&line{msg: name})`:          "the message of a log line is not constant",
		`_ = func(msg string) { _ = msg }`: "a function literal has a parameter msg",
	} {
		tree := fstest.MapFS{"a.go": source("package autorestart\n\nfunc f(l Logger, name string) { " + body + " }\n")}
		_, violations, err := logLines(tree)
		if err != nil || len(violations) != 1 || !strings.HasPrefix(violations[0], "a.go:3:") || !strings.HasSuffix(violations[0], want) {
			t.Errorf("%s: got %q, %v; want %q", body, violations, err, want)
		}
	}
}
