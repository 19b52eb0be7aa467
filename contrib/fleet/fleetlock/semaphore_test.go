package fleetlock_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A semaphore is a FleetLock server. A request that is not exactly as the protocol has it fails the
// test.
type semaphore struct {
	t testing.TB

	mu       sync.Mutex
	meddle   func(w http.ResponseWriter) (answered bool)
	slots    map[string]int             // of each group
	holders  map[string]map[string]bool // of each group
	most     map[string]int             // that a group has had at one time
	requests []string                   // endpoint and ID, in the order of their effects
}

func newSemaphore(t testing.TB, group string, slots int) *semaphore {
	return &semaphore{
		t: t, slots: map[string]int{group: slots},
		holders: map[string]map[string]bool{group: {}}, most: map[string]int{},
	}
}

// describe answers with an error of the protocol.
func describe(w http.ResponseWriter, status int, kind, value string) {
	b, _ := json.Marshal(map[string]string{"kind": kind, "value": value})
	http.Error(w, string(b), status)
}

func (s *semaphore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ClientParams struct {
			ID    string `json:"id"`
			Group string `json:"group"`
		} `json:"client_params"`
	}
	content, err := io.ReadAll(r.Body)
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.DisallowUnknownFields()
	params := &body.ClientParams
	switch _, pattern, _ := strings.Cut(r.URL.Path, "/v1/"); {
	case r.Method != http.MethodPost, pattern != "pre-reboot" && pattern != "steady-state",
		!slices.Equal(r.Header["Fleet-Lock-Protocol"], []string{"true"}),
		err != nil, decoder.Decode(&body) != nil, decoder.More(), params.ID == "", params.Group == "":
		s.t.Errorf("request %s %s %v %q", r.Method, r.URL, r.Header, content)
		describe(w, http.StatusBadRequest, "invalid_client_identity", "not as in the protocol")
		return
	}
	answer := s.answer(strings.TrimPrefix(r.URL.Path[strings.LastIndex(r.URL.Path, "/"):], "/"), params.Group, params.ID)
	s.mu.Lock()
	meddle := s.meddle
	s.mu.Unlock()
	if meddle == nil || !meddle(w) {
		answer(w)
	}
}

// meddleBy calls a function after each further request has had its effect. The function may answer in
// place of the server.
func (s *semaphore) meddleBy(meddle func(http.ResponseWriter) (answered bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = meddle
}

// answer changes the holders.
func (s *semaphore) answer(endpoint, group, id string) func(http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, endpoint+" "+id)
	holders := s.holders[group]
	switch {
	case holders == nil:
		return func(w http.ResponseWriter) {
			describe(w, http.StatusBadRequest, "unknown_group", fmt.Sprintf("unknown group %q", group))
		}
	case endpoint == "steady-state":
		delete(holders, id)
	case !holders[id] && len(holders) >= s.slots[group]:
		return func(w http.ResponseWriter) {
			describe(w, http.StatusInternalServerError, "failed_lock", fmt.Sprintf("all %d semaphore slots currently locked", s.slots[group]))
		}
	default:
		holders[id] = true
		s.most[group] = max(s.most[group], len(holders))
	}
	return func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }
}

// holding returns the members that hold a slot, sorted.
func (s *semaphore) holding(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.holders[group]))
}

// wantHolding compares the members that hold a slot.
func (s *semaphore) wantHolding(group string, want ...string) {
	s.t.Helper()
	if got := s.holding(group); !slices.Equal(got, want) {
		s.t.Errorf("slots are held by %q, want %q", got, want)
	}
}

// took returns the requests since the last call.
func (s *semaphore) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}
