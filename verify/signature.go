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

// SignatureSuffix is the suffix that [Signature] appends to the path of an executable.
const SignatureSuffix = ".sig"

// Signature returns a Func that accepts a version if one of the keys has signed its
// content. The signature is in a file next to the executable, with the same name and
// [SignatureSuffix]. It is 64 bytes long, Ed25519 of RFC 8032, as made by
//
//	openssl pkeyutl -sign -rawin -inkey key.pem -in app -out app.sig
//
// The two files may be deployed in any order: a version whose signature is missing or
// does not match is checked again until it is accepted.
//
// The Func reads the whole executable into memory. Signature panics if a key does not
// have [ed25519.PublicKeySize] bytes.
func Signature(keys ...ed25519.PublicKey) Func {
	for _, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			panic("verify: public key has " + strconv.Itoa(len(key)) + " bytes")
		}
	}
	var rejected rejectedPair
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
		if !rejected.is(info, signature) {
			content, err := io.ReadAll(io.NewSectionReader(exe, 0, info.Size()))
			if err != nil {
				return err
			}
			for _, key := range keys {
				if ed25519.Verify(key, content, signature) {
					return nil
				}
			}
			rejected.set(info, signature)
		}
		return notYet("a signature in "+name+" that does not match the file", "one by an accepted key", errSignature)
	}
}

// rejectedPair is an executable and a signature that don't match. It is remembered so that
// another check, every second, does not read the whole executable.
type rejectedPair struct {
	mu        sync.Mutex
	exe       fs.FileInfo
	signature []byte
}

func (p *rejectedPair) is(exe fs.FileInfo, signature []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exe != nil && os.SameFile(p.exe, exe) && p.exe.Size() == exe.Size() &&
		p.exe.ModTime().Equal(exe.ModTime()) && bytes.Equal(p.signature, signature)
}

func (p *rejectedPair) set(exe fs.FileInfo, signature []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exe, p.signature = exe, signature
}

var errSignature = errors.New("verify: signature does not match")

// notYet rejects a version for now: its signature may be deployed later.
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
		err = errors.New("not 64 bytes long")
	}
	return b, err
}
