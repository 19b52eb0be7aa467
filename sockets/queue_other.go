//go:build !unix

package sockets

import (
	"errors"
	"syscall"

	"github.com/autorestart-go/autorestart/internal/sys"
)

// No newcomer is taken where there is no exec.

func acceptAll(syscall.RawConn, int) ([]*sys.FD, error) { return nil, errors.ErrUnsupported }
func stopListening(int)                                 {}
func acceptOne(int) (*sys.FD, error)                    { return nil, errors.ErrUnsupported }
