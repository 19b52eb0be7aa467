//go:build linux

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// ErrWrong is the error of a request with a wrong answer.
var ErrWrong = errors.New("wrong answer")

// ErrUnsent is the error of a request that the client has to send again.
var ErrUnsent = errors.New("the server has processed no part of the request")

// Losses counts lost requests by kind.
type Losses map[string]int

// Add counts the loss of a request, by its error.
func (l Losses) Add(err error) { l[lossOf(err)]++ }

// Total returns the number of all losses.
func (l Losses) Total() (n int) {
	for _, count := range l {
		n += count
	}
	return n
}

// String returns the kinds, with their numbers.
func (l Losses) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, fmt.Sprintf("%d %s", l[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// isUnsent reports whether err is of Go's HTTP/2 client, about a request that it gives up because a
// GOAWAY arrives, and of which the server has processed nothing. No server can prevent that, and the
// client can send the request again. The caller makes sure that the body was not read.
func isUnsent(err error) bool {
	text := err.Error()
	return strings.Contains(text, "cannot rewind body") || strings.Contains(text, "cannot retry err [http2: Transport received Server's graceful shutdown GOAWAY]")
}

// lossOf returns the kind of loss for a client's error.
func lossOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrWrong):
		return "wrong"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // no Unix socket there
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case strings.Contains(err.Error(), "GOAWAY"): // whose errors net/http doesn't export
		return "goaway"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		strings.Contains(err.Error(), "server closed idle connection"),
		strings.Contains(err.Error(), "connection loss"):
		return "closed"
	}
	var requestError *url.Error
	if errors.As(err, &requestError) {
		err = requestError.Err
	}
	return err.Error()
}
