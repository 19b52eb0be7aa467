package fleetlock

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	described := func(status int, kind string) answer { return answer{status: status, kind: kind, value: "text"} }
	for name, tt := range map[string]struct {
		answer             answer
		locking, unlocking verdict
	}{
		"no response":                    {answer{err: errors.New("x")}, unreachable, unreachable},
		"no request":                     {answer{}, unreachable, unreachable},
		"ok":                             {answer{status: 200}, succeeded, succeeded},
		"ok with an error":               {described(200, "x"), succeeded, succeeded},
		"accepted":                       {answer{status: 202}, unreachable, unreachable},
		"no content":                     {answer{status: 204}, unreachable, unreachable},
		"redirect":                       {answer{status: 307, location: "http://elsewhere"}, unreachable, unreachable},
		"bad request of a proxy":         {answer{status: 400}, unreachable, unreachable},
		"not found":                      {answer{status: 404}, unreachable, unreachable},
		"bad gateway":                    {answer{status: 502}, unreachable, unreachable},
		"full, or a lost race":           {described(500, "failed_lock"), taken, taken},
		"its etcd is out of reach":       {described(500, "failed_sem_init"), unreachable, unreachable},
		"another error":                  {described(500, "x"), taken, taken},
		"its Kubernetes is out of reach": {described(500, "internal_error"), unreachable, unreachable},
		"unknown group":                  {described(400, "unknown_group"), impossible, impossible},
		"invalid client":                 {described(400, "invalid_client_identity"), impossible, impossible},
		"method not allowed":             {described(405, "method_not_allowed"), impossible, impossible},
		"one lease, held by another":     {described(423, "lock_held"), taken, succeeded},
		"locked for another reason":      {described(423, "x"), taken, taken},
		"conflict":                       {described(409, "x"), taken, taken},
		"too many requests":              {described(429, "x"), taken, taken},
		"too many requests, of proxy":    {answer{status: 429}, unreachable, unreachable},
		"a redirect with an error":       {described(302, "x"), unreachable, unreachable},
	} {
		if got := tt.answer.verdict(preReboot); got != tt.locking {
			t.Errorf("%s: %d when locking, want %d", name, got, tt.locking)
		}
		if got := tt.answer.verdict(steadyState); got != tt.unlocking {
			t.Errorf("%s: %d when unlocking, want %d", name, got, tt.unlocking)
		}
	}
}

func TestReason(t *testing.T) {
	for want, a := range map[string]answer{
		"connection refused": {err: &url.Error{Op: "Post", URL: "http://user:secret@host", Err: errors.New("connection refused")}},
		"an error that is not shown, because there may be a password in its text": {
			err: &url.Error{Err: errors.New(`invalid proxy address "http://user:secret@proxy"`)}},
		"failed_lock: all 2 semaphore slots currently locked":                            {status: 500, kind: "failed_lock", value: "all 2 semaphore slots currently locked"},
		"x: " + strings.Repeat("é", 100) + "…":                                           {status: 500, kind: "x", value: strings.Repeat("é", 1000)},
		"the server redirects to https://host/path (status 307); set URL to where it is": {status: 307, location: "https://host/path"},
		"status 502 Bad Gateway, without an error of a FleetLock server":                 {status: 502},
	} {
		if got := a.reason(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want answer
	}{
		"error":       {`{"kind":"failed_lock","value":"full"}` + "\n", answer{kind: "failed_lock", value: "full"}},
		"more":        {`{"kind":"failed_lock","value":"full","more":1}`, answer{kind: "failed_lock", value: "full"}},
		"no text":     {`{"kind":"failed_lock"}`, answer{kind: "failed_lock"}},
		"empty":       {"", answer{}},
		"page":        {"<html>", answer{}},
		"other types": {`{"kind":1,"value":[]}`, answer{}},
		"list":        {`["kind"]`, answer{}},
		"cut off":     {`{"kind":"failed_lock","value":"` + strings.Repeat("x", maxBody) + `"}`, answer{}},
	} {
		w := httptest.NewRecorder()
		w.WriteHeader(500)
		w.WriteString(tt.body)
		tt.want.sent, tt.want.status = true, 500
		if got := readAnswer(w.Result()); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	const date = "Sat, 28 Nov 2026 14:00:00 GMT"
	for name, tt := range map[string]struct {
		retryAfter, date string
		want             time.Duration
	}{
		"none":                            {"", date, 0},
		"seconds":                         {"120", "", 2 * time.Minute},
		"zero":                            {"0", "", 0},
		"negative":                        {"-5", "", 0},
		"no number":                       {"soon", date, 0},
		"a day":                           {"86400", "", maxRetryAfter},
		"huge":                            {"99999999999999999999", date, 0},
		"date":                            {"Sat, 28 Nov 2026 14:00:30 GMT", date, 30 * time.Second},
		"date in the past":                {"Sat, 28 Nov 2026 13:00:00 GMT", date, 0},
		"date far ahead":                  {"Sat, 28 Nov 2066 14:00:00 GMT", date, maxRetryAfter},
		"date without that of the server": {"Sat, 28 Nov 2026 14:00:30 GMT", "", 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", tt.retryAfter)
		h.Set("Date", tt.date)
		if got := retryAfter(h); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
