package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// command is like exec.CommandContext, but the end of ctx interrupts the command and the
// processes that it has started, and gives them time to clean up. Start the command from
// the main goroutine: see [setApart].
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	setApart(cmd)
	cmd.Cancel = func() error { return interruptGroup(cmd) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs cmd. If cmd fails, the error contains its output.
func output(ctx context.Context, cmd *exec.Cmd) error {
	text, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}
