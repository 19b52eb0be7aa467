package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
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

// client asks the daemon for its version, over and over. A question without a
// proper answer is the end of the demo: none is put again.
type client struct {
	url     string
	http    http.Client
	changes chan change
	cancel  context.CancelFunc
	ended   chan struct{}

	// To be read when the client has been stopped.
	answered int
	longest  time.Duration // from question to answer
}

const askPause = time.Millisecond // between questions

// startClient starts a client that asks each time on a new connection, or as long
// as it can on the same one. When it fails, it calls failed.
func startClient(ctx context.Context, url string, keep bool, failed func(error)) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{
		url:     url,
		http:    http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}},
		changes: make(chan change, 100),
		cancel:  cancel,
		ended:   make(chan struct{}),
	}
	go func() {
		defer close(c.ended)
		if err := c.run(ctx); ctx.Err() == nil {
			failed(fmt.Errorf("a request was lost: %w", err))
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

type wrongAnswer string

func (w wrongAnswer) Error() string { return "the daemon answers " + string(w) }

func (c *client) ask(ctx context.Context) (a answer, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	// Of a body that can be read only once the transport can't make a second attempt
	// behind our back.
	body := io.MultiReader(strings.NewReader("which version?"))
	request, err := http.NewRequestWithContext(ctx, "POST", c.url, body)
	if err != nil {
		return a, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a, err
	}
	if _, err := fmt.Sscan(string(text), &a.version, &a.pid); err != nil || response.StatusCode != http.StatusOK {
		return a, wrongAnswer(fmt.Sprintf("%s: %q", response.Status, text))
	}
	return a, nil
}
