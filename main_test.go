package autorestart

import (
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

const helperEnv = testprocess.HelperEnv

// registerHelper adds a helper process of the tests inside this package. TestMain is in
// integration_test.go.
func registerHelper(name string, main func()) bool {
	testprocess.RegisterHelper(name, main)
	testprocess.UseHelper(nil, name) // the tests set helperEnv themselves
	return true
}
