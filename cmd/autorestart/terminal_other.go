//go:build !linux

package main

import "io"

func isTerminal(io.Writer) bool   { return false }
func terminalWidth(io.Writer) int { return 0 }
