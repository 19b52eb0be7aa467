package fleet_test

import (
	"log"

	"github.com/autorestart-go/autorestart/contrib/fleet"
)

// Two instances of one service on a machine are two members.
func ExampleID() {
	for _, instance := range []string{"web@1", "web@2"} {
		id, err := fleet.ID(instance)
		if err != nil {
			log.Panic(err)
		}
		log.Print(instance, " is ", id)
	}
}
