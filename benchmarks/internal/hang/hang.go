// Package hang hangs in its initialisation, in versions with the fault
// [trailer.HangsInInit]. It imports little, so it is initialised early: such a
// version reaches neither main nor most of its other packages.
package hang

import (
	"time"

	"github.com/autorestart-go/autorestart/benchmarks/internal/trailer"
)

func init() {
	for _, fault := trailer.Read(); fault == trailer.HangsInInit; {
		time.Sleep(time.Hour)
	}
}
