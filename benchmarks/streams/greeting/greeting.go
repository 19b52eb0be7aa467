// Package greeting is what a server of WebSockets and its clients say to each other.
package greeting

import (
	"encoding/json"
	"strings"
	"time"
)

// A Greeting is the first message on each WebSocket.
type Greeting struct {
	PID     int
	Version int
	StandIn bool
	Drain   time.Duration // how long the drain before this version took; zero for the first
}

// Bytes formats the greeting for Parse.
func (g Greeting) Bytes() []byte {
	b, err := json.Marshal(g)
	if err != nil {
		panic(err) // it has no field of which that is true
	}
	return b
}

// Parse is the inverse of Bytes.
func Parse(b []byte) (g Greeting, err error) {
	err = json.Unmarshal(b, &g)
	return g, err
}

const retryAfter = "retry after "

// Goodbye is the reason of a close frame.
func Goodbye(retry time.Duration) string { return retryAfter + retry.String() }

// ParseGoodbye is the inverse of Goodbye.
func ParseGoodbye(reason string) (retry time.Duration, err error) {
	return time.ParseDuration(strings.TrimPrefix(reason, retryAfter))
}
