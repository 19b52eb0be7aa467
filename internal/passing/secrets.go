package passing

import (
	"bytes"
	"strings"

	"github.com/autorestart-go/autorestart/internal/report"
)

// A secret is a state that never reaches a disk, nor the environment of a process. It crosses an
// exec in memory, or not at all.

// SecretName returns the name of a secret of this library.
func SecretName(name string) Name { return Name(secretPrefix + name) }

func (n Name) isSecret() bool { return strings.HasPrefix(string(n), secretPrefix) }

// Secret returns the name that was given to [SecretName].
func (n Name) Secret() string { return strings.TrimPrefix(string(n), secretPrefix) }

// Secrets returns copies of all secrets. It claims none: [Store.State] does.
func (s *Store) Secrets() map[Name][]byte {
	c, unlock := s.lock()
	defer unlock()
	secrets := map[Name][]byte{}
	for name, own := range c.states {
		if name.isSecret() {
			secrets[name] = bytes.Clone(own.value)
		}
	}
	return secrets
}

// warnOfSecrets says how many secrets do not cross.
func warnOfSecrets(n int) {
	if n > 0 {
		report.Warn("TLS sessions of clients do not resume in the next version: session ticket keys are handed over in memory only; allow memfd_create", "keys", n)
	}
}
