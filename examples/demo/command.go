package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// command is exec.CommandContext for a command that can be interrupted together
// with what it starts, and has a moment to clean up then. Start it from the main
// goroutine: see [setApart].
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	setApart(cmd)
	cmd.Cancel = func() error { return interruptGroup(cmd) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs cmd, and makes an error of what it has written if it fails.
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
