//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

func checkSystem() error {
	return fmt.Errorf("the demo runs on Linux, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func setApart(*exec.Cmd) {}

func interruptGroup(*exec.Cmd) error { return errors.ErrUnsupported }

func awaitEnd(context.Context, int) error { return errors.ErrUnsupported }
