package main

import (
	"context"
	"fmt"
	"os"
)

const daemonPackage = "github.com/autorestart-go/autorestart/examples/demo/daemon"

// versions are the versions that the demo deploys, in this order.
var versions = []string{
	"v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0", "v1.5.0", "v1.6.0", "v1.7.0", "v1.8.0",
	"v2.0.0", "v2.1.0",
}

// faults are the faults of the versions that have one.
var faults = map[string]string{"v1.7.0": "panic", "v1.8.0": "hang", "v2.0.0": "slow", "v2.1.0": "fatal"}

// build builds every version of the daemon into builds/, under the name of the version. It
// calls done after each.
func (s site) build(ctx context.Context, done func(version string)) error {
	if err := os.Mkdir(s.path("builds"), 0o755); err != nil {
		return err
	}
	for _, version := range versions {
		cmd := command(ctx, "go", "build",
			"-buildvcs=false", // git rejects a checkout of another user
			"-ldflags", "-X main.version="+version+" -X main.fault="+faults[version],
			"-o", s.buildOf(version), daemonPackage)
		// What go leaves behind when it is killed is removed together with the site.
		cmd.Env = append(os.Environ(), "GOTMPDIR="+string(s))
		if err := output(ctx, cmd); err != nil {
			return fmt.Errorf("building the daemon: %w", err)
		}
		done(version)
	}
	return nil
}
