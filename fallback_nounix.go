//go:build !unix

package autorestart

import "github.com/autorestart-go/autorestart/internal/reap"

// childTable can do nothing: no image can be executed in the place of another here,
// so none leaves children to the next.
type childTable struct{ reap.Unsupported }
