//go:build unix && (!linux || autorestart_portable)

package verify

import "testing"

// eachMeans runs a test with each means by which Run keeps together what it starts.
func eachMeans(t *testing.T, test func(t *testing.T, m means)) {
	t.Run("group", func(t *testing.T) { test(t, means{starter: startInGroup}) })
}
