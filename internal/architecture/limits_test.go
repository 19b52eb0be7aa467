package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Limits of tests go by the clock of internal/testprocess, which a busy machine holds up as it does
// the test: WithTimeout, LimitIO, WaitFor and so on. This check finds limits by the wall clock.

// wallLimits are the functions that may have such limits, by the reason. A method is named by its
// name alone, and what is in no function by its file.
var wallLimits = map[string][]string{
	"the test is about what happens when this time has passed, however late that is": {
		"httpserve/conn_test.go TestConnectionsContinueWhenRestartIsCalledOff",
		"httpserve/incomplete_test.go TestHTTP2ConnectionsGetGoAway",
		"httpserve/incomplete_test.go TestRestartWaitsForSlowBodies",
		"internal/integrationtest/reaper/adopt_test.go",
		"internal/integrationtest/restarter_test.go TestFailedRestartLeavesNothing",
		"internal/pressure/load_test.go died",
		"sockets/accept_test.go TestPauseAfterAcceptErrorEnds",
		"sockets/crossing_test.go TestInheritedConnectionWaitsForDescriptor",
		"sockets/drain_test.go TestSocketContinuesWhenRestartIsCalledOff",
		"sockets/headroom_test.go TestAcceptLeavesDescriptors",
		"sockets/listener_test.go TestDeadlineEndsWaitOfHeldListener",
		"sockets/listener_test.go TestDrainWaitsForConnections",
		"sockets/packetconn_test.go TestPacketCountsAsHandledWhenItsReaderReadsAgain",
		"sockets/readers_test.go drainShortly",
		"sockets/survive_test.go TestServerSurvivesExhaustedDescriptors",
		"sockets/synfilter_linux_test.go testDropsSYN",
	},
	"that long there is load": {
		"internal/integrationtest/reaper/orphanrate_linux_test.go",
		"internal/integrationtest/reaper/orphanrate_linux_test.go makeOrphans",
	},
	"only called in a bubble of package synctest": {
		"contrib/fleet/fleetlock/bubble_test.go try",
		"internal/drain/hooks_test.go begin",
		"internal/integrationtest/hooks_test.go restartWithin",
		"internal/reap/run_test.go TestAdopted",
		"internal/reap/run_test.go TestReapContext",
	},
}

func TestLimitsOfTestsStretch(t *testing.T) {
	wantNone(t, func(tree fs.FS) ([]string, error) { return limits(tree, wallLimits) })
}

// testFolders have code of tests in other files, too.
var testFolders = []string{"internal/daemontest", "internal/integrationtest", "internal/pressure"}

// limits returns the limits by the wall clock, and the exceptions that nothing needs.
func limits(tree fs.FS, exceptions map[string][]string) (violations []string, err error) {
	unused := make(map[string]bool)
	for _, names := range exceptions {
		for _, name := range names {
			unused[name] = true
		}
	}
	used := make(map[string]bool)
	files := token.NewFileSet()
	err = walk(tree, func(name string) error {
		inFolder := isBelow(name, func(folder string) bool { return slices.Contains(testFolders, folder) })
		if path.Ext(name) != ".go" || !inFolder && isSource(name) {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			where := name
			if function, ok := decl.(*ast.FuncDecl); ok {
				where += " " + function.Name.Name
			}
			for _, found := range limitsIn(decl) {
				if unused[where] {
					used[where] = true
					continue
				}
				violations = append(violations, fmt.Sprintf("%s: %s is a limit by the wall clock; use internal/testprocess",
					files.Position(found.node.Pos()), found.what))
			}
		}
		return nil
	})
	for name := range unused {
		if !used[name] {
			violations = append(violations, name+": the exception for its limits is not needed")
		}
	}
	slices.Sort(violations)
	return violations, err
}

type limit struct {
	node ast.Node
	what string
}

// limitsIn returns the limits in a part of a file, but not those in bubbles.
func limitsIn(part ast.Node) (found []limit) {
	add := func(n ast.Node, what string) { found = append(found, limit{n, what}) }
	ast.Inspect(part, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch name := selector(n.Fun); {
			case name == "synctest.Test":
				return false
			case strings.HasPrefix(name, "context.WithTimeout"), strings.HasPrefix(name, "context.WithDeadline"), name == "net.DialTimeout":
				add(n, name)
			case name == "time.AfterFunc" && kills(n.Args[1]):
				add(n, "a timer that kills a process")
			case isDeadline(name) && calls(n.Args[0], func(name string) bool { return name == "time.Now" }):
				if call, ok := n.Args[0].(*ast.CallExpr); !ok || selector(call.Fun) != "time.Now" {
					add(n, name[strings.LastIndex(name, ".")+1:])
				}
			}
		case *ast.CommClause:
			if n.Comm != nil && calls(n.Comm, func(name string) bool { return name == "time.After" }) && fails(n.Body) {
				add(n, "time.After")
			}
		case *ast.CompositeLit:
			if name := selector(n.Type); name == "http.Client" || name == "net.Dialer" {
				for _, element := range n.Elts {
					if kv, ok := element.(*ast.KeyValueExpr); ok && isNamed(kv.Key, "Timeout") {
						add(n, name+".Timeout")
					}
				}
			}
		}
		return true
	})
	return found
}

func isDeadline(name string) bool {
	return strings.HasSuffix(name, ".SetDeadline") || strings.HasSuffix(name, ".SetReadDeadline") || strings.HasSuffix(name, ".SetWriteDeadline")
}

// kills reports whether a function ends a process.
func kills(f ast.Expr) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		e, ok := n.(*ast.SelectorExpr)
		found = found || ok && e.Sel.Name == "Kill"
		return !found
	})
	return found
}

// fails reports whether a test fails there.
func fails(body []ast.Stmt) bool {
	for _, statement := range body {
		if calls(statement, func(name string) bool {
			name = name[strings.LastIndex(name, ".")+1:]
			return slices.Contains([]string{"Fatal", "Fatalf", "Error", "Errorf", "panic", "fail", "check", "FailNow"}, name)
		}) {
			return true
		}
	}
	return false
}

// calls reports whether a function whose name matches is called in a part of a file.
func calls(part ast.Node, match func(name string) bool) (found bool) {
	ast.Inspect(part, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && match(selector(call.Fun)) {
			found = true
		}
		return !found
	})
	return found
}

// selector returns the name of a function or type, as "net.Dial" or ".Close" or "panic".
func selector(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if from, ok := e.X.(*ast.Ident); ok {
			return from.Name + "." + e.Sel.Name
		}
		return "." + e.Sel.Name
	}
	return ""
}

func isNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		line, what string // what is empty where nothing is found
	}{
		{"ctx, _ := context.WithTimeout(c, 1)", "context.WithTimeout"},
		{"ctx, _ := context.WithDeadline(c, x)", "context.WithDeadline"},
		{"ctx, _ := testprocess.WithTimeout(c, 1)", ""},
		{"c.SetReadDeadline(time.Now().Add(1))", "SetReadDeadline"},
		{"a.b.SetDeadline(time.Now().Add(1))", "SetDeadline"},
		{"c.SetReadDeadline(time.Now()); c.SetDeadline(time.Time{})", ""},
		{"select { case <-time.After(1): t.Fatal() }", "time.After"},
		{"select { case <-c: t.Fatal(); case <-time.After(1): }", ""},
		{"c := http.Client{Transport: x, Timeout: 1}", "http.Client.Timeout"},
		{"c := &net.Dialer{Timeout: 1}", "net.Dialer.Timeout"},
		{"c := other{Timeout: 1}; d := http.Client{}", ""},
		{"net.DialTimeout(a, b, 1)", "net.DialTimeout"},
		{"time.AfterFunc(1, func() { p.Kill() })", "a timer that kills a process"},
		{"time.AfterFunc(1, p.Process.Kill)", "a timer that kills a process"},
		{"synctest.Test(t, func(t *testing.T) { context.WithTimeout(c, 1) })", ""},
	} {
		src := source("package p\nfunc f() {\n" + test.line + "\n}\n")
		tree := fstest.MapFS{"a_test.go": src, "internal/pressure/b.go": src, "c.go": src}
		var want []string
		if test.what != "" {
			message := ": " + test.what + " is a limit by the wall clock; use internal/testprocess"
			want = []string{"a_test.go" + message, "internal/pressure/b.go" + message}
		}
		violations, err := limits(tree, nil)
		for i, v := range violations {
			name, rest, _ := strings.Cut(v, ":")
			violations[i] = name + rest[strings.Index(rest, ": "):]
		}
		if err != nil || !slices.Equal(violations, want) {
			t.Errorf("%s: got %q, %v; want %q", test.line, violations, err, want)
		}
		exceptions := map[string][]string{"why": {"a_test.go f", "internal/pressure/b.go f"}}
		violations, err = limits(tree, exceptions)
		if err != nil || test.what != "" && len(violations) > 0 || test.what == "" && len(violations) != 2 {
			t.Errorf("%s, with exceptions: got %q, %v", test.line, violations, err)
		}
	}
}
