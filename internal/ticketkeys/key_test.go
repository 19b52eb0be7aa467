package ticketkeys

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart/internal/passing"
)

// These are never changed: other versions of this library write and read them.
const (
	goldenName  = "autorestart:secret:session-ticket-key ID listener tcp [::]:443"
	goldenValue = "0000000065920080" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

func TestFormOfKeys(t *testing.T) {
	set, ok := setOf(goldenName)
	if !ok || set != "listener tcp [::]:443" || stateName("ID", set) != goldenName {
		t.Errorf("set %q, %v", set, ok)
	}
	value, err := hex.DecodeString(goldenValue)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := parseKey(goldenName, value)
	if !ok || !k.created.Equal(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) || !bytes.Equal(k.value(), value) {
		t.Errorf("%+v, %v", k, ok)
	}
	for _, size := range []int{0, 8, 39, 41} {
		if _, ok := parseKey(goldenName, make([]byte, size)); ok {
			t.Errorf("%d bytes are a key", size)
		}
	}
	for _, name := range []passing.Name{"", passing.SecretName("session-ticket-key ID"), passing.SecretName("other ID set")} {
		if set, ok := setOf(name); ok {
			t.Errorf("%q is a key of %q", name, set)
		}
	}
}

// Keys differ, and so do the names of their states.
func TestNewKeys(t *testing.T) {
	now := time.Now()
	a, b := newKey("set", now), newKey("set", now)
	if a.state == b.state || a.bytes == b.bytes || !strings.HasSuffix(string(a.state), " set") {
		t.Errorf("%q, %q", a.state, b.state)
	}
}
