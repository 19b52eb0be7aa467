// Package passing is about files and state that cross the exec.
package passing

import "time"

// UnclaimedTimeout is how long a version that never calls Ready has to claim what it
// was passed. Only tests change it, before the initialisation of package autorestart.
var UnclaimedTimeout = time.Minute
