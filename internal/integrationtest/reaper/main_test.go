//go:build unix

// Package reaper_test has the tests of the reaper in real processes: each scenario is a
// program that starts children, executes itself, and deals with the children that it
// has inherited, once with everything that the kernel can do and once with each
// fallback.
package reaper_test

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) { testprocess.Main(m) }
