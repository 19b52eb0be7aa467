package autorestart

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/autorestart-go/autorestart/internal/handover"
)

// An ExecPlan says how a new version is executed. [Restarter.BeforeExec] may change Args
// and Env. The plan is read after BeforeExec has returned nil.
//
// Changed arguments stay in force: a version that is restarted later passes on the
// arguments that it was started with. A rollback of the new version executes the old
// version with its own arguments and environment. If the new version contains a release
// of this library that is older than ExecPlan, the rollback executes the old version with
// the changed ones.
//
// The restart is called off, with a [*RejectedError] that is not Retryable, if the plan
// has
//   - no arguments
//   - a NUL byte
//   - a variable, added to Env, that is not of the form NAME=value
//   - more than execve(2) takes.
type ExecPlan struct {
	Path     string    // of the new version
	Old, New BuildInfo // of the version that runs, and of the new one
	StandIn  bool      // the new version is started as a stand-in, and the one that serves goes on, see [Restarter.Overlap]

	// Args are all arguments, the name of the program included. At first they are the
	// arguments that the old version was started with.
	Args []string

	// Env is the environment, each variable as NAME=value. At first it is [os.Environ].
	// If several variables have one name, the last one counts.
	//
	// If BeforeExec leaves Env as it is, the new version gets the environment of the old
	// version at the exec. Then [os.Setenv] in BeforeExec has an effect, too.
	Env []string
}

// callBeforeExec calls BeforeExec: while clients wait, or before a stand-in is started.
func callBeforeExec(ctx context.Context, x *replacement, standIn bool) error {
	r, c, prepared := x.r, x.c, x.prepared
	timeout := r.DrainTimeout
	if timeout <= 0 {
		timeout = defaultDrainTimeout
	}
	env := os.Environ()
	prepared.args, prepared.env = nil, nil
	plan := &ExecPlan{
		Path: c.Path, StandIn: standIn, Old: buildInfo(x.rules.Running.Build()), New: buildInfo(c.Build),
		Args: slices.Clone(prepared.process.launch.args), Env: slices.Clone(env),
	}
	err := callHook(ctx, &r.beforeExec, "BeforeExec", timeout, func(ctx context.Context) error {
		return r.BeforeExec(ctx, plan)
	})
	if err != nil {
		return err
	}
	if !slices.Equal(plan.Args, prepared.process.launch.args) {
		prepared.args = cloneAll(plan.Args)
	}
	if !slices.Equal(plan.Env, env) {
		prepared.env = lastOfEachName(cloneAll(plan.Env))
	}
	return prepared.checkPlan(c.Path, env)
}

// cloneAll copies a list and its strings: those of [os.Args] may be overwritten by a title. The
// copy is not nil.
func cloneAll(list []string) []string {
	clones := make([]string, len(list))
	for i, s := range list {
		clones[i] = strings.Clone(s)
	}
	return clones
}

// lastOfEachName returns the variables without those that have the name of a later one.
func lastOfEachName(env []string) []string {
	seen := map[string]bool{}
	kept := len(env)
	for i := len(env) - 1; i >= 0; i-- {
		name, _, ok := strings.Cut(env[i], "=")
		if ok && seen[name] {
			continue
		}
		seen[name] = seen[name] || ok
		kept--
		env[kept] = env[i]
	}
	return env[kept:]
}

// arguments returns those of the next version.
func (x *prepared) arguments() []string {
	if x.args != nil {
		return x.args
	}
	return x.process.launch.args
}

// environment returns that of the next version.
func (x *prepared) environment() []string {
	if x.env != nil {
		return x.env
	}
	return os.Environ()
}

// checkPlan returns why the arguments and the environment that BeforeExec has left can't be
// those of an exec. before is what the environment was.
func (x *prepared) checkPlan(path string, before []string) error {
	if x.args == nil && x.env == nil {
		return nil
	}
	wrong := func(found, expected string, err error) error {
		return &RejectedError{Path: path, Found: "an ExecPlan with " + found, Expected: "one with " + expected, Err: err}
	}
	if len(x.arguments()) == 0 {
		return wrong("no arguments", "the name of the program, at least", nil)
	}
	for i, arg := range x.args {
		if strings.Contains(arg, "\x00") {
			return wrong("a NUL byte in argument "+strconv.Itoa(i), "text alone", nil)
		}
	}
	for _, variable := range x.env {
		name, _, ok := strings.Cut(variable, "=")
		switch {
		case strings.Contains(variable, "\x00"):
			return wrong("a NUL byte in the variable "+strconv.Quote(name), "text alone", nil)
		case (!ok || name == "") && !slices.Contains(before, variable):
			return wrong("the variable "+strconv.Quote(variable), "variables of the form NAME=value", nil)
		}
	}
	if err := handover.CheckSize(path, x.arguments(), x.environment()); err != nil {
		return wrong("too much for execve(2) ("+err.Error()+")", "shorter arguments and variables", err)
	}
	return nil
}
