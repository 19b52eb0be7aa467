//go:build linux

package grpc

import (
	"context"
	"errors"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// cut restarts the server while it has streams, and returns the shortest time between the message that
// says that a stream is told, and its end.
func (r *run) cut(streams int) (least time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	type result struct {
		told time.Duration // before the end
		err  error
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
			told := time.Now()
			if err == nil && string(m.Payload.Body) != "told" {
				err = errWrong
			}
			if err == nil {
				if _, end := s.Recv(); end == nil {
					err = errors.New("a stream goes on after it was told")
				}
			}
			results <- result{time.Since(told), err}
		}()
	}
	_, err = r.restart()
	for range streams {
		got := <-results
		err = errors.Join(err, got.err)
		if least == 0 || got.told < least {
			least = got.told
		}
	}
	return least, err
}
