// Package hang never gets through its init in the versions that say so: main
// isn't reached, nor any package that is initialised later. It needs little
// itself, so those are nearly all.
package hang

import (
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/restart/internal/trailer"
)

func init() {
	for _, fault := trailer.Read(); fault == trailer.HangsInInit; {
		time.Sleep(time.Hour)
	}
}
