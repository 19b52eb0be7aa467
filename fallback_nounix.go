//go:build !unix

package autorestart

import "github.com/autorestart-go/autorestart/internal/candidate"

// mayExecute returns nil: the mode does not say what can be executed here.
func mayExecute(string) error { return nil }

// credentials returns none: there are no other users from which this package protects
// the process here.
func credentials() candidate.Credentials { return candidate.Credentials{} }
