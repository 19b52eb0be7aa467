package fleetlock

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An answer is the outcome of a request.
type answer struct {
	sent       bool          // there was a connection to send the request on
	err        error         // why there is no response; nil if there is one
	status     int           // of HTTP
	kind       string        // of an error of a FleetLock server; "" for any other response
	value      string        // the text of that error
	location   string        // where a redirect leads
	retryAfter time.Duration // how long the server asks to wait
}

// maxBody is how much of a response is read. An error of a FleetLock server is shorter.
const maxBody = 16 << 10

// readAnswer reads a response, which it closes.
func readAnswer(resp *http.Response) answer {
	defer resp.Body.Close()
	a := answer{sent: true, status: resp.StatusCode, retryAfter: retryAfter(resp.Header)}
	if resp.StatusCode == http.StatusOK {
		return a // whatever follows
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // the status says enough if the rest is missing
	var described struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &described) == nil {
		a.kind, a.value = described.Kind, described.Value
	}
	if to, err := resp.Location(); err == nil {
		a.location = withoutSecrets(to)
	}
	return a
}

// A verdict is what follows from an answer.
type verdict int

const (
	succeeded   verdict = iota + 1
	taken               // there is no slot for now
	unreachable         // a FleetLock server has not answered, or has not reached its own store
	impossible          // the same request will never succeed
)

// Kinds of errors.
const (
	kindLockHeld    = "lock_held"       // fleetlock for Kubernetes, which has one slot: another member holds it
	kindInternal    = "internal_error"  // the same: it has not reached Kubernetes
	kindNoSemaphore = "failed_sem_init" // airlock has not reached etcd
)

// verdict judges an answer. A status without an error of the protocol may be that of a proxy, or of a
// server that is starting.
func (a answer) verdict(e endpoint) verdict {
	switch {
	case a.err != nil:
		return unreachable
	case a.status == http.StatusOK:
		return succeeded
	case a.kind == kindLockHeld && e == steadyState:
		return succeeded // another member holds the only slot, so this one does not
	case a.kind == "", a.kind == kindInternal, a.kind == kindNoSemaphore:
		return unreachable
	case a.status == http.StatusLocked || a.status == http.StatusTooManyRequests || a.status == http.StatusConflict || a.status >= 500:
		return taken
	case a.status >= 400:
		return impossible
	}
	return unreachable
}

// reason says in words why the request has not succeeded. It has nothing that is secret.
func (a answer) reason() string {
	switch {
	case a.err != nil:
		return errorText(a.err)
	case a.kind != "":
		return a.kind + ": " + shorten(a.value)
	case a.location != "":
		return fmt.Sprintf("the server redirects to %s (status %d); set URL to where it is", a.location, a.status)
	default:
		return fmt.Sprintf("status %d %s, without an error of a FleetLock server", a.status, http.StatusText(a.status))
	}
}

// shorten cuts a text of the server's.
func shorten(text string) string {
	const most = 200
	if text = strings.ToValidUTF8(text, "?"); len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// errorText is the text of an error of the HTTP client, without the URL. A text that may have a
// password in it, such as that about a proxy in the environment, is left out.
func errorText(err error) string {
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	if text := err.Error(); !strings.Contains(text, "@") {
		return text
	}
	return "an error that is not shown, because there may be a password in its text"
}

// withoutSecrets returns a URL without user, password and query.
func withoutSecrets(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// maxRetryAfter limits how long a server can ask to wait.
const maxRetryAfter = 10 * time.Minute

// retryAfter returns how long the server asks to wait, see Retry-After in RFC 9110. A date is compared
// with the server's own date, because the clock of this machine may differ.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}
