package ticketkeys

import (
	"crypto/tls"
	"slices"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// A Set has the keys of one server, in all versions of it.
type Set struct {
	name  string
	store *passing.Store // nil: the keys do not cross

	mu   sync.Mutex
	keys []*key // the newest first
}

// encrypt is [tls.Config.EncryptTicket] with the newest key. The first ticket that is encrypted a
// day after that was made gets a new one, as in crypto/tls.
func (s *Set) encrypt(now time.Time, cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	return s.newest(now).config.EncryptTicket(cs, ss)
}

func (s *Set) newest(now time.Time) *key {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 && s.keys[0].created.Sub(now) > tolerance {
		s.correct(now)
	}
	if len(s.keys) > 0 && now.Sub(s.keys[0].created) < rotation {
		return s.keys[0]
	}
	k := newKey(s.name, now)
	s.keys = slices.DeleteFunc(append([]*key{k}, s.keys...), func(old *key) bool {
		expired := !old.decrypts(now)
		if expired {
			s.set(old.state, nil)
		}
		return expired
	})
	s.set(k.state, k.value())
	return k
}

// tolerance is for connections that read the clock in one order and come here in another.
const tolerance = time.Minute

// correct is called with s locked when the clock was set back: a key that comes from the future
// would last too long. A key itself never changes, because decrypt uses it without the lock.
func (s *Set) correct(now time.Time) {
	for i, k := range s.keys {
		if k.created.After(now) {
			corrected := *k
			corrected.created = now
			s.keys[i] = &corrected
			s.set(k.state, corrected.value())
		}
	}
}

func (s *Set) set(state passing.Name, value []byte) {
	if s.store != nil {
		s.store.SetState(state, value)
	}
}

// decrypt is [tls.Config.DecryptTicket] with the keys that have not expired.
func (s *Set) decrypt(now time.Time, ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	s.mu.Lock()
	keys := slices.Clone(s.keys)
	s.mu.Unlock()
	for _, k := range keys {
		if !k.decrypts(now) {
			continue
		}
		if ss, err := k.config.DecryptTicket(ticket, cs); ss != nil || err != nil {
			return ss, err
		}
	}
	return nil, nil
}

// add adds a key, unless the set has it.
func (s *Set) add(k *key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.keys, func(own *key) bool { return own.state == k.state }) {
		return
	}
	s.keys = append(s.keys, k)
	slices.SortStableFunc(s.keys, func(a, b *key) int { return b.created.Compare(a.created) })
}
