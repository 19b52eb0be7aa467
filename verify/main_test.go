//go:build unix

package verify

import (
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

func TestMain(m *testing.M) {
	endTimeout = testprocess.Timeout // on a busy machine the end may take a moment, too
	testprocess.Main(m)
}
