package grpcserve

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrRestart is the cause of the end of a stream's context, see [context.Cause], if
// [StreamServerInterceptor] has cancelled it because the program restarts.
var ErrRestart = errors.New("grpcserve: the server restarts")

// StreamServerInterceptor returns an interceptor that ends streams before a restart would cut them. A
// restart waits for streams as for other calls. The interceptor cancels the contexts of all streams of
// the program, with the cause [ErrRestart], when half of the time is over that is left of
// [autorestart.Restarter.DrainTimeout] when the turn of the server comes, and one second before its end
// at the latest. With less than a second left, it does so at once. The turn of a server comes when the
// restart begins, or after the drainers with a lower DrainOrder: if these use up the DrainTimeout, the
// contexts are cancelled at its end. With several servers, the one that is drained first counts. Then:
//   - A handler should return. It may still send messages.
//   - A handler that waits in RecvMsg, or in the Recv of generated code, gets an error with the code
//     Unavailable. A message that arrives at this moment may be lost.
//   - A handler that returns the error of its context or its cause, or an error with the code Canceled,
//     ends the stream with the code Unavailable: the client may call again. Any other error, and nil,
//     goes to the client as it is.
//
// Handlers that can end sooner, such as one that only sends, may wait for the channel of
// [autorestart.Draining]. The interceptor acts only on servers of [Serve], and not on unary calls. It should
// be the first in a chain of interceptors: the next ones then work with the context of the stream.
func StreamServerInterceptor() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, cancel := context.WithCancelCause(ss.Context())
		defer cancel(nil)
		defer restart.addStream(cancel)()
		err := handler(srv, &stream{ServerStream: ss, ctx: ctx})
		if err != nil && isRestarting(ctx) && isCancellation(err) {
			return errUnavailable
		}
		return err
	}
}

// errUnavailable is what clients get.
var errUnavailable = status.Error(codes.Unavailable, "the server restarts")

func isRestarting(ctx context.Context) bool { return context.Cause(ctx) == ErrRestart }

// isCancellation reports whether a handler that has returned err says that its context has ended.
func isCancellation(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, ErrRestart) || status.Code(err) == codes.Canceled
}

// A stream has a context of its own.
type stream struct {
	grpc.ServerStream
	ctx   context.Context
	ended bool // RecvMsg has returned before the RecvMsg that it has called; it must not be called again
}

func (s *stream) Context() context.Context { return s.ctx }

// RecvMsg waits in a goroutine, because package grpc waits for the context of its own, and has no way
// to stop. The goroutine ends with the call.
func (s *stream) RecvMsg(m any) error {
	if s.ended {
		return errUnavailable
	}
	received := make(chan result, 1)
	go func() {
		r := result{err: io.ErrUnexpectedEOF}
		defer func() {
			r.panicked = recover()
			received <- r
		}()
		r.err = s.ServerStream.RecvMsg(m)
	}()
	select {
	case r := <-received:
		return r.get()
	case <-s.ctx.Done():
	}
	if !isRestarting(s.ctx) {
		return (<-received).get() // the call has ended
	}
	select {
	case r := <-received:
		return r.get()
	default:
		s.ended = true
		return errUnavailable
	}
}

// A result is that of a RecvMsg.
type result struct {
	err      error
	panicked any
}

// get panics in the goroutine of the handler, where the program may expect that.
func (r result) get() error {
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}
