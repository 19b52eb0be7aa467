package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// answer is the daemon's answer.
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

// client asks the daemon for its version again and again. It repeats no request: the demo
// fails with the first that has no valid answer.
type client struct {
	url     string
	http    http.Client
	changes chan change
	cancel  context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	answers map[answer]int

	// Read them after stop.
	answered int
	longest  time.Duration // from request to answer
}

const askPause = time.Millisecond // between requests

// startClient starts a client that makes a new connection for each request or, if keep is
// true, keeps its connection. It calls failed when a request fails.
func startClient(ctx context.Context, url string, keep bool, failed func(error)) *client {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{
		url:     url,
		http:    http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}},
		changes: make(chan change, 100),
		answers: map[answer]int{},
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

// stop stops the client, and waits until it has ended.
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
		c.mu.Lock()
		c.answers[a]++
		c.mu.Unlock()
		if a != last {
			last = a
			c.changes <- change{a, now}
		}
		time.Sleep(askPause)
	}
}

// count returns how often the client has got an answer.
func (c *client) count(a answer) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[a]
}

type wrongAnswer string

func (w wrongAnswer) Error() string { return "the daemon answers " + string(w) }

func (c *client) ask(ctx context.Context) (a answer, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	// The transport does not repeat a request whose body can be read only once.
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
