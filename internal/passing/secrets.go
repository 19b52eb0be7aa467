package passing

import (
	"maps"
	"slices"
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

// Secrets returns the names of all secrets, sorted. [Store.State] claims one.
func (s *Store) Secrets() []Name {
	c, unlock := s.lock()
	defer unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.states)), func(n Name) bool { return !n.isSecret() })
}

// warnOfSecrets says how many secrets do not cross.
func warnOfSecrets(n int) {
	if n > 0 {
		report.Warn("TLS sessions of clients do not resume in the next version: session ticket keys are handed over in memory only; allow memfd_create", "keys", n)
	}
}
