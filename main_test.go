package autorestart

import (
	"fmt"
	"os"
	"testing"
)

// helpers are the programs that this test binary can be beside a test: it is
// copied, started with helperEnv set, and execs itself like any daemon. A name
// that is not here fails the test that used it.
var helpers = map[string]func(){}

const helperEnv = "AUTORESTART_TEST_HELPER"

// registerHelper adds a helper process; call it from a package-level variable
// or an init function of the test file that uses it.
func registerHelper(name string, main func()) bool {
	if helpers[name] != nil {
		panic("helper " + name + " is registered twice")
	}
	helpers[name] = main
	return true
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helper, ok := helpers[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "%s=%s: no such helper\n", helperEnv, name)
			os.Exit(2)
		}
		helper()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
