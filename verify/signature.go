package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/autorestart-go/autorestart"
)

// SignatureSuffix is what [Signature] appends to the path of an executable.
const SignatureSuffix = ".sig"

// Signature returns a Func that accepts a version for which there is, in a file
// beside it with the same name and SignatureSuffix, the signature of its content
// by one of the keys: 64 bytes, Ed25519 of RFC 8032, as made by
//
//	openssl pkeyutl -sign -rawin -inkey key.pem -in app -out app.sig
//
// The two files may be deployed in any order: a signature that is missing or
// doesn't fit yet is looked at again until it does.
//
// The executable is read into memory as a whole. Signature panics if a key has
// not the length of one.
func Signature(keys ...ed25519.PublicKey) Func {
	for _, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			panic("verify: a public key of " + strconv.Itoa(len(key)) + " bytes")
		}
	}
	var last refusedPair
	return func(_ context.Context, exe *os.File) error {
		name := exe.Name() + SignatureSuffix
		signature, err := readSignature(name)
		if err != nil {
			return notYet("no signature ("+err.Error()+")", "one in "+name, err)
		}
		info, err := exe.Stat()
		if err != nil {
			return err
		}
		if !last.is(info, signature) {
			content, err := io.ReadAll(io.NewSectionReader(exe, 0, info.Size()))
			if err != nil {
				return err
			}
			for _, key := range keys {
				if ed25519.Verify(key, content, signature) {
					return nil
				}
			}
			last.set(info, signature)
		}
		return notYet("a file to which the signature in "+name+" doesn't belong", "one signed by an accepted key", errSignature)
	}
}

// refusedPair is an executable and a signature that don't belong together. To be
// asked about them again every second must not cost a look at every byte.
type refusedPair struct {
	mu        sync.Mutex
	exe       fs.FileInfo
	signature []byte
}

func (p *refusedPair) is(exe fs.FileInfo, signature []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exe != nil && os.SameFile(p.exe, exe) && p.exe.Size() == exe.Size() &&
		p.exe.ModTime().Equal(exe.ModTime()) && bytes.Equal(p.signature, signature)
}

func (p *refusedPair) set(exe fs.FileInfo, signature []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exe, p.signature = exe, signature
}

var errSignature = errors.New("verify: signature does not fit")

// notYet refuses for now: the signature may follow the executable.
func notYet(found, expected string, err error) error {
	return &autorestart.RejectedError{Found: found, Expected: expected, Retryable: true, Err: err}
}

func readSignature(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, p.Err
		}
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ed25519.SignatureSize+1))
	if err == nil && len(b) != ed25519.SignatureSize {
		err = errors.New("not the 64 bytes of one")
	}
	return b, err
}
