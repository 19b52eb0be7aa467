package httpconn

import (
	"fmt"
	"net"
	"reflect"
	"sync"
)

// claimed contains the listeners that a server accepts from.
var claimed sync.Map

// Claim is called before a server begins to accept from ln, and release when it has stopped. It
// fails if ln is claimed already, also by the same server: an idle connection that crosses the
// exec would go to either of the two. Two listeners that wrap one are not recognized, and neither
// is a listener of a type that is not comparable.
func Claim(ln net.Listener) (release func(), err error) {
	if !reflect.ValueOf(ln).Comparable() {
		return func() {}, nil
	}
	if _, taken := claimed.LoadOrStore(ln, true); taken {
		return nil, fmt.Errorf("the listener %s is served already: open a listener for each server", ln.Addr())
	}
	return func() { claimed.Delete(ln) }, nil
}

// DrainOrder returns the DrainOrder of a server that accepts from ln: that of a listener of package
// sockets, the result of a method DrainOrder of another listener, or 0.
func DrainOrder(ln net.Listener) int {
	if l := ListenerOf(ln); l != nil {
		return l.DrainOrder()
	}
	if o, ok := ln.(interface{ DrainOrder() int }); ok {
		return o.DrainOrder()
	}
	return 0
}
