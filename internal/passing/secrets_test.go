//go:build unix

package passing

import (
	"bytes"
	"math"
	"testing"

	"github.com/autorestart-go/autorestart/internal/handover"
)

const secretText = "secret text"

func storeWithSecret() *Store {
	s := NewStore(new(handover.State))
	s.SetState(SecretName("a key"), []byte(secretText))
	s.SetState("state", []byte("text"))
	return s
}

func TestSecretCrossesAsStatesDo(t *testing.T) {
	s := storeWithSecret()
	name := SecretName("a key")
	if secrets := s.Secrets(); len(secrets) != 1 || string(secrets[name]) != secretText || name.Secret() != "a key" {
		t.Fatalf("secrets %q", secrets)
	}
	h := new(handover.State)
	if err := s.HandOver(h, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if b, _ := s.content.(*content).addRecords(h, math.MaxInt, true); !bytes.Contains(b, []byte(secretText)) {
		t.Error("the secret does not cross in memory")
	}
}

// A manifest that may be on a disk, or in the environment, contains no secret.
func TestSecretsStayInMemory(t *testing.T) {
	s := storeWithSecret()
	c, unlock := s.lock()
	defer unlock()
	for _, limit := range []int{math.MaxInt, maxContent} {
		b, missing := c.addRecords(new(handover.State), limit, false)
		if bytes.Contains(b, []byte(secretText)) || !bytes.Contains(b, []byte("text")) || missing > 0 {
			t.Errorf("limit %d: the manifest is %q, %d are missing", limit, b, missing)
		}
	}
	back := manifestBack([]record{
		{manifestState, SecretName("a key"), []byte(secretText)},
		{manifestState, "state", []byte("text")},
	}, nil, nil, false)
	if bytes.Contains(back, []byte(secretText)) || !bytes.Contains(back, []byte("text")) {
		t.Errorf("a rollback hands %q back", back)
	}
}

// A program has no name that is one of a secret.
func TestSecretsAreNotOfTheProgram(t *testing.T) {
	s := storeWithSecret()
	name := SecretName("a key")
	if _, ok := s.State(ProgramName(string(name))); ok {
		t.Error("the program can read the secret")
	}
	if _, ok := name.program(); ok {
		t.Error("the name is one of the program")
	}
}

// States that a process takes over are announced after it has them.
func TestOnTaken(t *testing.T) {
	standIn, main := storeWithSecret(), NewStore(new(handover.State))
	taken := 0
	main.OnTaken(func() {
		taken++
		if _, ok := main.State("state"); !ok {
			t.Error("the state is not there")
		}
	})
	main.TakeStates(standIn.OwnStates())
	main.TakeStates(-1)
	if taken != 1 {
		t.Errorf("announced %d times", taken)
	}
}
