// Package autorestarttest tests the restarts of a daemon that uses package autorestart.
//
// A test starts the daemon, deploys new versions, and waits for the outcome:
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
// The main of the daemon is built as it is.
package autorestarttest
