//go:build linux

package grpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc/connectivity"
)

// connectIdle makes connections on which there are no calls.
func connectIdle(target string, n int) (closeAll func(), err error) {
	var clients []client
	closeAll = func() {
		for _, c := range clients {
			c.Close()
		}
	}
	for range n {
		c, err := newClient(target)
		if err != nil {
			return closeAll, err
		}
		clients = append(clients, c)
		c.Connect()
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	for _, c := range clients {
		for state := c.GetState(); state != connectivity.Ready; state = c.GetState() {
			if !c.WaitForStateChange(ctx, state) {
				return closeAll, fmt.Errorf("a connection is %v", state)
			}
		}
	}
	return closeAll, nil
}
