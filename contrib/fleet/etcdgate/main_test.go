//go:build linux

package etcdgate

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/daemontest"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, map[string]func(){"member": memberMain})
}
