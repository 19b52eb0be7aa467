//go:build linux

package grpc

import (
	"context"
	"errors"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// cut restarts the server while it has streams, and returns the shortest time between the message that
// says that the context of a stream is cancelled, and the end of the stream.
func (r *run) cut(streams int) (least time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	type result struct {
		notice time.Duration // before the end
		err    error
	}
	results := make(chan result)
	for range streams {
		c, err := newClient(r.target)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		s, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{Payload: payload("stubborn")})
		if err == nil {
			_, err = s.Recv()
		}
		if err != nil {
			return 0, err
		}
		go func() {
			m, err := s.Recv()
			cancelled := time.Now()
			if err == nil && string(m.Payload.Body) != "cancelled" {
				err = errWrong
			}
			if err == nil {
				if _, end := s.Recv(); end == nil {
					err = errors.New("a stream goes on after its context was cancelled")
				}
			}
			results <- result{time.Since(cancelled), err}
		}()
	}
	_, err = r.restart()
	for range streams {
		got := <-results
		err = errors.Join(err, got.err)
		if least == 0 || got.notice < least {
			least = got.notice
		}
	}
	return least, err
}
