// Package agent reports to package autorestarttest what happens in a daemon. Programs do not
// import it: [github.com/autorestart-go/autorestart/autorestarttest.Start] builds the daemon of a
// test with this package added to its main package.
//
// In any other program, the package reads the last 256 bytes of the executable, and does nothing
// else.
//
// In a daemon of a test, on Linux, each image connects to the test. That takes a descriptor, which
// is close-on-exec, the descriptors of the runtime's poller, and a goroutine. When the connection
// ends because the test has ended, the agent kills the process.
package agent
