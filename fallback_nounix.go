//go:build !unix

package autorestart

import (
	"github.com/autorestart-go/autorestart/internal/candidate"
	"github.com/autorestart-go/autorestart/internal/reap"
)

// mayExecute returns nil: the mode does not say what can be executed here.
func mayExecute(string) error { return nil }

// credentials returns none: there are no other users from which this package protects
// the process here.
func credentials() candidate.Credentials { return candidate.Credentials{} }

// childTable can do nothing: no image can be executed in place of another here, so
// none leaves children to the next.
type childTable struct{ reap.Unsupported }
