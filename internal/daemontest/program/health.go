//go:build linux

package program

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/autorestart-go/autorestart"
)

// checks is what Check does: good, bad, panic or hang.
var checks atomic.Pointer[string]

var checksMade atomic.Int32

func check(context.Context) error {
	checksMade.Add(1)
	switch *checks.Load() {
	case "bad":
		return errors.New("no database")
	case "panic":
		panic("in Check")
	case "hang":
		select {}
	}
	return nil
}

func setCheck(kind string) { checks.Store(&kind) }

var health = map[string]func(argument string) string{
	// check KIND has the next Check do something else.
	"check": func(kind string) string { setCheck(kind); return "" },
	// checks counts the calls of Check.
	"checks": func(string) string { return fmt.Sprint(checksMade.Load()) },
	// ready-and-panic panics in main after it is ready.
	"ready-and-panic": func(string) string {
		autorestart.Ready()
		panic("after Ready")
	},
}
