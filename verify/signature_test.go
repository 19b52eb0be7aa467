//go:build unix

package verify

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autorestart-go/autorestart"
)

func TestSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	otherPublic, otherPrivate, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(strings.Repeat("executable", 1000))
	signature := ed25519.Sign(private, content)
	for _, tt := range []struct {
		name      string
		signature []byte
		keys      []ed25519.PublicKey
		found     string // "" if accepted
	}{
		{"signed", signature, []ed25519.PublicKey{public}, ""},
		{"signed by the second", signature, []ed25519.PublicKey{otherPublic, public}, ""},
		{"signed by another", ed25519.Sign(otherPrivate, content), []ed25519.PublicKey{public}, "does not match"},
		{"other content", ed25519.Sign(private, content[1:]), []ed25519.PublicKey{public}, "does not match"},
		{"no signature", nil, []ed25519.PublicKey{public}, "no such file"},
		{"short", signature[:63], []ed25519.PublicKey{public}, "not 64 bytes"},
		{"long", append(signature, 0), []ed25519.PublicKey{public}, "not 64 bytes"},
		{"no key", signature, nil, "does not match"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "app")
			if err := os.WriteFile(name, content, 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.signature != nil {
				if err := os.WriteFile(name+SignatureSuffix, tt.signature, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			exe, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer exe.Close()
			check := Signature(tt.keys...)
			for range 2 {
				err = check(context.Background(), exe)
				rejected, ok := errors.AsType[*autorestart.RejectedError](err)
				switch {
				case tt.found == "" && err != nil:
					t.Fatal(err)
				case tt.found != "" && (!ok || !rejected.Retryable || !strings.Contains(rejected.Found, tt.found)):
					t.Fatalf("%v: not a retryable rejection with %q", err, tt.found)
				}
			}
			// A rejected version is accepted once the right signature is there.
			if err := os.WriteFile(name+SignatureSuffix, signature, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := check(context.Background(), exe); err != nil && len(tt.keys) > 0 {
				t.Error(err)
			}
		})
	}
}
