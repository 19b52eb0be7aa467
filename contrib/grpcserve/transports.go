package grpcserve

import (
	"fmt"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Package grpc can end a connection without losing a call: its transports have a method Drain, which
// sends a GOAWAY and a PING, waits until the client has answered, sends the last GOAWAY, and closes
// the connection when its calls are done. No function of package grpc calls Drain and leaves the
// server alive. GracefulStop can't be undone, and stops the server also if the restart is called off.
//
// So this file calls the method of the transports that a [grpc.Server] has in unexported fields. The
// alternative would be to insert frames into the connection, as httpserve does for net/http, which has no
// such method. Frames can't be inserted below TLS, whose credentials are an option of the server.
//
// fieldsOf compares the fields with those of the versions that are known to fit, so that another
// layout makes Serve fail when the program starts, and no call.

// fittingVersions are the versions of package grpc that have the fields.
const fittingVersions = "1.85.0 and later"

// A transport is a connection, as package grpc has it.
type transport interface{ Drain(debugData string) }

var (
	mutexType     = reflect.TypeFor[sync.Mutex]()
	transportType = reflect.TypeFor[transport]()
	keepaliveType = reflect.TypeFor[keepalive.ServerParameters]()
)

// fields are the unexported fields of a [grpc.Server].
type fields struct {
	mu        *sync.Mutex
	conns     reflect.Value // a map of maps, whose inner keys are transports; guarded by mu
	keepalive keepalive.ServerParameters
}

// fieldsOf returns the fields of a server. server is a pointer to a struct, a [grpc.Server].
func fieldsOf(server any) (*fields, error) {
	v := reflect.ValueOf(server).Elem()
	mu, conns := v.FieldByName("mu"), v.FieldByName("conns")
	var params reflect.Value
	if opts := v.FieldByName("opts"); opts.IsValid() && opts.Kind() == reflect.Struct {
		params = opts.FieldByName("keepaliveParams")
	}
	switch {
	case !mu.IsValid() || mu.Type() != mutexType:
		return nil, misfit("mu")
	case !conns.IsValid() || !isTransportMap(conns.Type()):
		return nil, misfit("conns")
	case !params.IsValid() || params.Type() != keepaliveType:
		return nil, misfit("opts.keepaliveParams")
	}
	return &fields{
		mu:        (*sync.Mutex)(unsafe.Pointer(mu.UnsafeAddr())),
		conns:     exported(conns),
		keepalive: exported(params).Interface().(keepalive.ServerParameters),
	}, nil
}

func isTransportMap(t reflect.Type) bool {
	return t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Map && t.Elem().Key().Implements(transportType)
}

func misfit(field string) error {
	return fmt.Errorf("grpcserve: package grpc %s can't be drained without losing calls, because its Server has another field %s; versions that can are %s",
		grpc.Version, field, fittingVersions)
}

// exported returns the field of a struct that can be addressed as if its name were exported.
func exported(field reflect.Value) reflect.Value {
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
}

// drain has the server end its connections. A connection that is drained already notices nothing. As
// in GracefulStop, Drain is called with the mutex locked. It does not block. drain returns the
// connections.
func (f *fields) drain() (all []transport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.transports {
		t.Drain("restart")
		all = append(all, t)
	}
	return all
}

// transports is called with f.mu locked.
func (f *fields) transports(yield func(transport) bool) {
	for _, conns := range f.conns.Seq2() {
		for t := range conns.Seq() {
			if !yield(t.Interface().(transport)) {
				return
			}
		}
	}
}

// calls counts the calls on all connections. Unless a transport has the fields of those of the versions
// that fit, its calls are not counted.
func (f *fields) calls() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.transports {
		withField(t, "activeStreams", func(streams reflect.Value) {
			if streams.Kind() == reflect.Map {
				n += streams.Len()
			}
		})
	}
	return n
}

// endPings has drained connections that are late go on as if their client had answered the PING.
// Otherwise a client that does not answer has 5 seconds, also if it has no calls. Unless a transport
// has the fields of those of the versions that fit, its client has that time.
func (f *fields) endPings(isLate func(transport) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.transports {
		if !isLate(t) {
			continue
		}
		withField(t, "drainEvent", func(event reflect.Value) {
			if e, ok := event.Interface().(interface{ Fire() bool }); ok && !event.IsNil() {
				e.Fire()
			}
		})
	}
}

// withField calls use with a field of a transport, and with the transport's mutex locked.
func withField(t transport, name string, use func(field reflect.Value)) {
	v := reflect.ValueOf(t)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return
	}
	mu, field := v.Elem().FieldByName("mu"), v.Elem().FieldByName(name)
	if !mu.IsValid() || mu.Type() != mutexType || !field.IsValid() {
		return
	}
	lock := (*sync.Mutex)(unsafe.Pointer(mu.UnsafeAddr()))
	lock.Lock()
	defer lock.Unlock()
	use(exported(field))
}

// userTimeout returns the TCP_USER_TIMEOUT that package grpc sets if it gets a [net.TCPConn]: its
// defaults are a ping after 2 hours without data, and 20 seconds for the answer.
func (f *fields) userTimeout() (timeout time.Duration, ok bool) {
	const never = time.Duration(1<<63 - 1)
	if f.keepalive.Time == never {
		return 0, false
	}
	if f.keepalive.Timeout == 0 {
		return 20 * time.Second, true
	}
	return f.keepalive.Timeout, true
}
