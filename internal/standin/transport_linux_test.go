//go:build !autorestart_portable

package standin

import (
	"io"
	"testing"

	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// newChannels returns both ends of a channel.
func newChannels(t *testing.T) (main, standIn *channel) {
	t.Helper()
	main, other, err := channelPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(main.close)
	if standIn, err = newChannel(other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standIn.close)
	return main, standIn
}

// receiveText receives a message, with a limit.
func receiveText(t *testing.T, c *channel) (text string, fd int, err error) {
	t.Helper()
	stop := testprocess.LimitIO(c.file, testprocess.Timeout)
	defer stop()
	b := make([]byte, maxMessage)
	n, fd, err := c.receive(b)
	return string(b[:n]), fd, err
}

// What a process has sent before its end arrives, also if there is something that it has not
// received.
func TestLastMessageOfChannel(t *testing.T) {
	main, standIn := newChannels(t)
	if err := main.send([]byte("a signal"), -1); err != nil {
		t.Fatal(err)
	}
	if err := standIn.send([]byte("farewell"), -1); err != nil {
		t.Fatal(err)
	}
	standIn.close()
	if text, _, err := receiveText(t, main); text != "farewell" || err != nil {
		t.Errorf("received %q, %v", text, err)
	}
	if text, _, err := receiveText(t, main); err != io.EOF {
		t.Errorf("received %q, %v after the end", text, err)
	}
}
