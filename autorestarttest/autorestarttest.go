// Package autorestarttest tests the restarts of a daemon that uses package autorestart, and the
// code of such a daemon.
//
// # Tests of a daemon
//
// [Start] builds a main package and starts it. The test deploys new versions, and waits for the
// outcome:
//
//	func TestDeploy(t *testing.T) {
//		address := autorestarttest.FreeAddress(t)
//		d := autorestarttest.Start(t, autorestarttest.Program{
//			Package: "./cmd/served",
//			Args:    []string{"-listen", address},
//		})
//		load := d.Load("http://" + address)
//		d.Deploy(autorestarttest.ByRename)
//		d.WantRestart()
//		d.DeployBroken(autorestarttest.Panics)
//		d.WantRollback()
//		load.WantNoneLost()
//	}
//
// The main package needs no change. It may be in any module that requires this library, also with a
// vendor folder or in a workspace. Tests of daemons may be parallel: each daemon has a directory of its
// own. They need Linux, and are skipped on other systems.
//
// The program is built once for each set of flags. Its versions have a line after the end of the
// executable, which says their number and how they fail. So go test with the usual cache takes little
// more time than a build.
//
// # What the build adds
//
// The build adds package agent to the main package, by the flag -overlay of go build. The agent reports
// the start of each image, calls of autorestart.Ready, and the steps of restarts. It adds to the
// running program
//   - a connection to the test, which is close-on-exec: neither children nor new versions inherit it.
//     Each image has its own.
//   - the descriptors of the runtime's poller, if the program does not have them already
//   - a goroutine, which kills the process when the test has ended.
//
// Environment, arguments, standard input and signals are as without the agent. Standard output and
// standard error are a file.
//
// # Unit tests
//
// [NewProcess] is for tests of code that uses package autorestart: a drain begins and is called off, a
// restart makes another image the current one. Nothing is built, and nothing is executed.
package autorestarttest
