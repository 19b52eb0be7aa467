package ticketkeys

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"strings"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// The rules of crypto/tls.
const (
	rotation = 24 * time.Hour     // after which new tickets get a new key
	lifetime = 7 * 24 * time.Hour // in which a key decrypts
)

// A key encrypts tickets, and decrypts its own.
type key struct {
	state   passing.Name // by which it crosses the exec
	bytes   [32]byte
	created time.Time
	config  *tls.Config // has this key alone
}

func makeKey(state passing.Name, b [32]byte, created time.Time) *key {
	config := new(tls.Config)
	config.SetSessionTicketKeys([][32]byte{b})
	return &key{state, b, created, config}
}

// newKey returns a new key of the set with the given name.
func newKey(set string, now time.Time) *key {
	var b [32]byte
	rand.Read(b[:])
	return makeKey(stateName(rand.Text(), set), b, now)
}

func (k *key) decrypts(now time.Time) bool { return now.Sub(k.created) < lifetime }

// A key is a state of its own, so that two processes that serve one after the other, as with
// Overlap, can both add keys. The name of the state has the name of the set.

const statePrefix = "session-ticket-key "

func stateName(id, set string) passing.Name {
	return passing.SecretName(statePrefix + id + " " + set)
}

// setOf returns the name of the set of a key; ok is false if the state is none.
func setOf(state passing.Name) (set string, ok bool) {
	rest, ok := strings.CutPrefix(state.Secret(), statePrefix)
	if !ok {
		return "", false
	}
	_, set, ok = strings.Cut(rest, " ")
	return set, ok
}

// value returns the value of the state: the time in seconds, and the key.
func (k *key) value() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(k.created.Unix())), k.bytes[:]...)
}

// parseKey returns the key of a state; ok is false for one of another form.
func parseKey(state passing.Name, value []byte) (k *key, ok bool) {
	const timeSize = 8
	if len(value) != timeSize+len(k.bytes) {
		return nil, false
	}
	created := time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
	return makeKey(state, [32]byte(value[timeSize:]), created), true
}
