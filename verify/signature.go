package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/sys"
)

// The suffixes that [Signature] appends to the path of an executable.
const (
	SignatureSuffix          = ".sig"   // of a file with an Ed25519 signature
	PrehashedSignatureSuffix = ".sigph" // of a file with an Ed25519ph signature
)

// The largest executables that [Signature] reads, in bytes. Signature rejects a larger
// executable without reading it.
const (
	MaxSize        int64 = 4 << 30   // of any executable
	MaxEd25519Size int64 = 256 << 20 // of an executable with an Ed25519 signature
)

// Signature returns a Func that accepts a version if one of the keys has signed its
// content. The signature, of 64 bytes, is in a file next to the executable. The file has
// the name of the executable and a suffix for the kind of the signature: Ed25519 or
// Ed25519ph, see RFC 8032.
//
// An Ed25519 signature is in the file with [SignatureSuffix]. OpenSSL makes it by
//
//	openssl pkeyutl -sign -rawin -inkey key.pem -in app -out app.sig
//
// The Func reads the executable into memory once, and hashes it once for each key. It
// allocates at most twice the size of the executable. The executable has at most
// [MaxEd25519Size] bytes.
//
// An Ed25519ph signature, without a context string, is in the file with
// [PrehashedSignatureSuffix]. OpenSSL 3.2 or later makes it by
//
//	openssl pkeyutl -sign -rawin -pkeyopt instance:Ed25519ph -inkey key.pem -in app -out app.sigph
//
// In Go it is made from the SHA-512 of the content, see the example. The Func hashes the
// executable once for all keys, in constant memory. The executable has at most [MaxSize]
// bytes.
//
// If both files are there, one valid signature is enough. Ed25519ph is checked first. The
// same keys can be used for both kinds: RFC 8032 rules out that a signature of one kind
// is valid for the other.
//
// The files may be deployed in any order: a version whose signature is missing or does
// not match is checked again until it is accepted. A version of more than MaxSize bytes
// is rejected until the file changes.
//
// When ctx ends, the Func returns the cause. It looks at ctx after each MiB that it
// reads. It can't look at ctx while it checks an Ed25519 signature: for 256 MiB that
// takes less than a second for each key on most machines.
//
// Signature panics if a key does not have [ed25519.PublicKeySize] bytes.
func Signature(keys ...ed25519.PublicKey) Func {
	for _, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			panic("verify: public key has " + strconv.Itoa(len(key)) + " bytes")
		}
	}
	schemes := []*scheme{ // the cheaper one first
		{suffix: PrehashedSignatureSuffix, maxSize: MaxSize, verify: verifyPrehashed},
		{suffix: SignatureSuffix, maxSize: MaxEd25519Size, verify: verifyPlain},
	}
	return func(ctx context.Context, exe *os.File) error { return checkSignature(ctx, exe, keys, schemes) }
}

// A scheme is a kind of signature.
type scheme struct {
	suffix   string
	maxSize  int64 // of an executable, in bytes
	verify   func(ctx context.Context, content io.Reader, size int64, keys []ed25519.PublicKey, signature []byte) (bool, error)
	rejected rejectedPair
}

func checkSignature(ctx context.Context, exe *os.File, keys []ed25519.PublicKey, schemes []*scheme) error {
	stat, err := sys.StatFile(exe)
	if err != nil {
		return err
	}
	if stat.Size > MaxSize {
		return &autorestart.RejectedError{
			Found:    "a file of " + strconv.FormatInt(stat.Size, 10) + " bytes",
			Expected: "at most " + strconv.FormatInt(MaxSize, 10) + " bytes",
			Err:      errTooLarge,
		}
	}
	settled := hasSettled(stat)
	rejection := &autorestart.RejectedError{Expected: "a signature by an accepted key", Retryable: true}
	var found []string
	var missing error
	for _, s := range schemes {
		name := exe.Name() + s.suffix
		signature, err := readSignature(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = err
			continue
		case err != nil:
			found, rejection.Err = append(found, "no signature in "+name+" ("+err.Error()+")"), err
			continue
		case stat.Size > s.maxSize:
			found, rejection.Err = append(found, "a file of "+strconv.FormatInt(stat.Size, 10)+" bytes with a signature in "+name), errTooLarge
			rejection.Expected = "at most " + strconv.FormatInt(s.maxSize, 10) + " bytes, or a signature by Ed25519ph in " +
				exe.Name() + PrehashedSignatureSuffix
			continue
		case !s.rejected.is(stat, signature):
			ok, err := s.verify(ctx, io.NewSectionReader(exe, 0, stat.Size), stat.Size, keys, signature)
			if ok || err != nil {
				return err
			}
			if settled {
				s.rejected.set(stat, signature)
			}
		}
		found, rejection.Err = append(found, "a signature in "+name+" that does not match the file"), errSignature
	}
	rejection.Found = strings.Join(found, " and ")
	if found == nil {
		rejection.Found, rejection.Err = "no signature ("+missing.Error()+")", missing
		rejection.Expected = "a signature in " + exe.Name() + SignatureSuffix + " or " + exe.Name() + PrehashedSignatureSuffix
	}
	return rejection
}

var (
	errSignature = errors.New("verify: signature does not match")
	errTooLarge  = errors.New("verify: executable is too large")
)

// piece is the number of bytes that are read between two looks at the context.
const piece = 1 << 20

// verifyPrehashed verifies a signature by Ed25519ph.
func verifyPrehashed(ctx context.Context, content io.Reader, _ int64, keys []ed25519.PublicKey, signature []byte) (bool, error) {
	hash := sha512.New()
	if _, err := io.CopyBuffer(hash, contextReader{ctx, content}, make([]byte, piece)); err != nil {
		return false, err
	}
	digest := hash.Sum(nil)
	for _, key := range keys {
		if ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: crypto.SHA512}) == nil {
			return true, nil
		}
	}
	return false, nil
}

// verifyPlain verifies a signature by Ed25519, which hashes the key before the content.
func verifyPlain(ctx context.Context, content io.Reader, size int64, keys []ed25519.PublicKey, signature []byte) (bool, error) {
	b, err := readContent(contextReader{ctx, content}, size)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		if ed25519.Verify(key, b, signature) {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
	return false, nil
}

// readContent reads up to size bytes. It takes memory for at most twice the number of
// bytes that are there, whatever the size.
func readContent(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, 0, min(size, piece))
	for int64(len(b)) < size {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(size, 2*int64(cap(b)))), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// contextReader reads in pieces. When the context has ended, the error is its cause.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p[:min(len(p), piece)])
}

// rejectedPair is an executable and a signature that don't match. It is remembered so that
// another check, every second, does not read the whole executable.
type rejectedPair struct {
	mu        sync.Mutex
	exe       sys.FileStat
	signature []byte // nil if there is no pair
}

func (p *rejectedPair) is(exe sys.FileStat, signature []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signature != nil && p.exe == exe && bytes.Equal(p.signature, signature)
}

func (p *rejectedPair) set(exe sys.FileStat, signature []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exe, p.signature = exe, signature
}

// hasSettled reports whether another change of the file would show in its times. A change
// right after another may leave the same times.
func hasSettled(exe sys.FileStat) bool {
	age := time.Since(time.Unix(0, exe.Ctime))
	return age < 0 || age > time.Second // the clock of a file server may be ahead
}

func readSignature(name string) ([]byte, error) {
	f, err := sys.OpenRegular(name)
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
