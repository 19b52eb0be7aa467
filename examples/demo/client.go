package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// answer is what the daemon says about itself.
type answer struct {
	version string
	pid     int
}

func (a answer) String() string { return fmt.Sprintf("%s as PID %d", a.version, a.pid) }

// change is the first answer that differs from the one before.
type change struct {
	answer
	at time.Time
}

// client asks the daemon for its version, over and over, each time on a new
// connection.
type client struct {
	url     string
	http    http.Client
	changes chan change
	cancel  context.CancelFunc
	ended   chan struct{}

	// To be read when the client has been stopped. Every question but the one
	// that was being asked then has been answered.
	answered int
	refused  int           // connections, for nobody was listening
	cutOff   int           // connections, while waiting for the answer
	retried  int           // questions that took more than one connection
	longest  time.Duration // from question to answer
}

const (
	askPause   = time.Millisecond       // between questions
	retryPause = 200 * time.Microsecond // before a question is put again
)

// startClient starts a client. Should a question remain without a proper answer,
// it calls failed and gives up.
func startClient(ctx context.Context, url string, failed func(error)) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{
		url:     url,
		http:    http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		changes: make(chan change, 100),
		cancel:  cancel,
		ended:   make(chan struct{}),
	}
	go func() {
		defer close(c.ended)
		if err := c.run(ctx); ctx.Err() == nil {
			failed(err)
		}
	}()
	return c
}

// stop ends the client, and returns when it has ended.
func (c *client) stop() {
	c.cancel()
	<-c.ended
}

func (c *client) run(ctx context.Context) error {
	var last answer
	for {
		start := time.Now()
		a, err := c.ask(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		c.answered++
		c.longest = max(c.longest, now.Sub(start))
		if a != last {
			last = a
			c.changes <- change{a, now}
		}
		time.Sleep(askPause)
	}
}

// ask puts one question, again and again until it is answered.
func (c *client) ask(ctx context.Context) (answer, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	var last error
	for {
		a, err := c.askOnce(ctx)
		switch {
		case err == nil:
			if last != nil {
				c.retried++
			}
			return a, nil
		case ctx.Err() != nil:
			return answer{}, errors.Join(context.Cause(ctx), last)
		case errors.As(err, new(wrongAnswer)):
			return answer{}, err
		case errors.Is(err, syscall.ECONNREFUSED):
			c.refused++
		default:
			c.cutOff++
		}
		last = err
		time.Sleep(retryPause)
	}
}

type wrongAnswer string

func (w wrongAnswer) Error() string { return "the daemon answers " + string(w) }

// askOnce asks on one connection, and counts nothing.
func (c *client) askOnce(ctx context.Context) (a answer, err error) {
	request, err := http.NewRequestWithContext(ctx, "GET", c.url, nil)
	if err != nil {
		return a, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	if _, err := fmt.Sscan(string(body), &a.version, &a.pid); err != nil || response.StatusCode != http.StatusOK {
		return a, wrongAnswer(fmt.Sprintf("%s: %q", response.Status, body))
	}
	return a, nil
}
