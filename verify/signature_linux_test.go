package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/internal/sys"
	"github.com/autorestart-go/autorestart/internal/testprocess"
)

// sparse returns an open file of that size, which takes no space.
func sparse(t *testing.T, size int64) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "app")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(size)
	f.Close()
	if err != nil {
		t.Skip("no sparse file of that size here: ", err)
	}
	exe, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exe.Close() })
	return exe
}

// key returns a key pair that is the same in each process.
func key() (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return private.Public().(ed25519.PublicKey), private
}

// limitMemory ends the process, with a line on standard error, when it has taken more
// memory than that.
func limitMemory(bytes uint64) {
	for range time.Tick(time.Millisecond) {
		var stats runtime.MemStats
		if runtime.ReadMemStats(&stats); stats.Sys > bytes {
			fmt.Fprintf(os.Stderr, "has taken %d MiB of memory\n", stats.Sys>>20)
			os.Exit(3)
		}
	}
}

const hugeFile int64 = 1 << 40 // bytes

// The helper checks a signature of the file that it is given, and prints the answer.
var _ = testprocess.RegisterHelper("signature", func() {
	go limitMemory(1 << 30)
	exe, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	public, _ := key()
	fmt.Println(Signature(public)(context.Background(), exe))
})

// A file of 1 TB takes neither memory nor time.
func TestSignatureOfHugeFile(t *testing.T) {
	exe := sparse(t, hugeFile)
	for _, suffix := range []string{SignatureSuffix, PrehashedSignatureSuffix} {
		if err := os.WriteFile(exe.Name()+suffix, make([]byte, ed25519.SignatureSize), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := testprocess.WithTimeout(context.Background(), testprocess.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], exe.Name())
	cmd.Env = append(os.Environ(), testprocess.UseHelper(t, "signature"))
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "found a file of 1099511627776 bytes") {
		t.Errorf("%v; output %q", err, output)
	}
}

// signPrehashed is what a signer does; it reads the file in pieces.
func signPrehashed(t *testing.T, private ed25519.PrivateKey, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		t.Fatal(err)
	}
	signature, err := private.Sign(nil, hash.Sum(nil), &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// A signature of the prehashed content needs no memory of the size of the file.
func TestPrehashedSignature(t *testing.T) {
	const size = 300 << 20 // bytes
	exe := sparse(t, size)
	public, private := key()
	if err := os.WriteFile(exe.Name()+PrehashedSignatureSuffix, signPrehashed(t, private, exe.Name()), 0o644); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := Signature(public)(context.Background(), exe)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Error(err)
	}
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 4<<20 {
		t.Errorf("allocated %d bytes for a file of %d", allocated, size)
	}
	t.Logf("%d MiB: %v, %d bytes allocated", size>>20, took, allocated)
}

// RFC 8032, section 7.3, has a test vector.
func TestPrehashedSignatureOfRFC8032(t *testing.T) {
	decode := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	private := ed25519.NewKeyFromSeed(decode("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"))
	name := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(name, []byte("abc"), 0o755); err != nil {
		t.Fatal(err)
	}
	signature := decode("98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41" +
		"31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406")
	if err := os.WriteFile(name+PrehashedSignatureSuffix, signature, 0o644); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if err := Signature(private.Public().(ed25519.PublicKey))(context.Background(), exe); err != nil {
		t.Error(err)
	}
}

// A signature in a FIFO that no process writes to does not block. The FIFO is not opened:
// that would let a writer go on.
func TestSignatureIsRegularFile(t *testing.T) {
	public, _ := key()
	exe := sparse(t, 1000)
	if err := syscall.Mkfifo(exe.Name()+SignatureSuffix, 0o644); err != nil {
		t.Skip("no FIFO here: ", err)
	}
	opened := testprocess.WatchOpens(t, exe.Name()+SignatureSuffix)
	answer := make(chan error, 1)
	go func() { answer <- Signature(public)(context.Background(), exe) }()
	err, _ := testprocess.Receive(t, "answer", answer)
	rejected, ok := errors.AsType[*autorestart.RejectedError](err)
	if !ok || !rejected.Retryable || !strings.Contains(rejected.Found, "not a regular file") {
		t.Error(err)
	}
	if opened() {
		t.Error("the FIFO was opened")
	}
}

// The modification time need not show that another version was written into the file:
// tools set it.
func TestSignatureOfRewrittenFile(t *testing.T) {
	public, private := key()
	name := filepath.Join(t.TempDir(), "app")
	stamp := time.Unix(1700000000, 0)
	content := bytes.Repeat([]byte("1"), 1000)
	write := func() {
		t.Helper()
		if err := os.WriteFile(name, content, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	write()
	exe, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	content[0] = '2'
	if err := os.WriteFile(name+SignatureSuffix, ed25519.Sign(private, content), 0o644); err != nil {
		t.Fatal(err)
	}
	check := Signature(public)
	if err := check(context.Background(), exe); err == nil {
		t.Fatal("the version before is accepted")
	}
	write()
	if err := check(context.Background(), exe); err != nil {
		t.Error(err)
	}
}

// A signature that does not match is checked every second. The file is not read again.
func TestSignatureIsRemembered(t *testing.T) {
	const size = 32 << 20
	public, private := key()
	exe := sparse(t, size)
	for _, suffix := range []string{SignatureSuffix, PrehashedSignatureSuffix} {
		if err := os.WriteFile(exe.Name()+suffix, ed25519.Sign(private, nil), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stat, err := sys.StatFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	testprocess.WaitFor(t, "file that has settled", func() bool { return hasSettled(stat) })
	check := Signature(public)
	bytesRead := func() (n int64) {
		before := readBytes(t)
		if err := check(context.Background(), exe); !errors.Is(err, errSignature) {
			t.Error(err)
		}
		return readBytes(t) - before
	}
	if n := bytesRead(); n < 2*size {
		t.Errorf("read %d bytes for two signatures of a file of %d", n, size)
	}
	if n := bytesRead(); n > piece {
		t.Errorf("read %d bytes again", n)
	}
}

// readBytes returns how many bytes this process has read.
func readBytes(t *testing.T) int64 {
	t.Helper()
	var n int64
	if _, err := fmt.Sscanf(string(testprocess.ReadFile(t, "/proc/self/io")), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A file may be larger than what Ed25519 takes, if it is signed by Ed25519ph.
func TestSignatureOfLargeFile(t *testing.T) {
	public, private := key()
	exe := sparse(t, MaxEd25519Size+1)
	if err := os.WriteFile(exe.Name()+SignatureSuffix, ed25519.Sign(private, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	before := readBytes(t)
	err := Signature(public)(context.Background(), exe)
	rejected, ok := errors.AsType[*autorestart.RejectedError](err)
	if !ok || !rejected.Retryable || !strings.Contains(rejected.Found, "a file of 268435457 bytes") ||
		!strings.Contains(rejected.Expected, "at most 268435456 bytes, or a signature by Ed25519ph in "+exe.Name()+".sigph") {
		t.Error(err)
	}
	if n := readBytes(t) - before; n > piece {
		t.Errorf("read %d bytes", n)
	}
}

// A file that is shorter than its size says takes the memory of what is there.
func TestReadContent(t *testing.T) {
	for _, tt := range []struct {
		there, size int64
	}{{0, 0}, {0, MaxEd25519Size}, {10, 10}, {10, MaxEd25519Size}, {5 << 20, 5 << 20}, {5<<20 + 1, 5 << 20}, {5 << 20, 100 << 20}} {
		b, err := readContent(bytes.NewReader(make([]byte, tt.there)), tt.size)
		if int64(len(b)) != min(tt.there, tt.size) || err != nil {
			t.Errorf("%d of %d bytes: got %d, %v", tt.there, tt.size, len(b), err)
		}
		if int64(cap(b)) > max(piece, 2*tt.there) {
			t.Errorf("%d of %d bytes: took %d", tt.there, tt.size, cap(b))
		}
	}
}

// The end of the context ends the check, with its cause.
func TestSignatureEndsWithContext(t *testing.T) {
	public, private := key()
	cause := errors.New("shutting down")
	for _, tt := range []struct {
		suffix string
		size   int64
	}{{SignatureSuffix, MaxEd25519Size}, {PrehashedSignatureSuffix, MaxSize}} {
		exe := sparse(t, tt.size)
		if err := os.WriteFile(exe.Name()+tt.suffix, ed25519.Sign(private, nil), 0o644); err != nil {
			t.Fatal(err)
		}
		// The pieces that are read until the context ends are few: each looks at it.
		ctx, cancel := context.WithCancelCause(context.Background())
		looks := 0
		counted := lookedAt{ctx, func() {
			if looks++; looks == 3 {
				cancel(cause)
			}
		}}
		before := readBytes(t)
		if err := Signature(public)(counted, exe); err != cause {
			t.Errorf("%s: %v, expected %v", tt.suffix, err, cause)
		}
		if n := readBytes(t) - before; n == 0 || n > 4*piece {
			t.Errorf("%s: read %d bytes", tt.suffix, n)
		}
	}
}

// lookedAt is a context that calls a function when its Err is called.
type lookedAt struct {
	context.Context
	look func()
}

func (c lookedAt) Err() error {
	c.look()
	return c.Context.Err()
}

// Signatures that openssl makes are accepted.
func TestSignatureByOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl here: apt-get install openssl")
	}
	public, private := key()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		suffix  string
		options []string
	}{
		{SignatureSuffix, nil},
		{PrehashedSignatureSuffix, []string{"-pkeyopt", "instance:Ed25519ph"}},
	} {
		t.Run(tt.suffix, func(t *testing.T) {
			exe := sparse(t, 1000)
			pemFile := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"pkeyutl", "-sign", "-rawin"}, tt.options...)
			cmd := exec.Command("openssl", append(args, "-inkey", pemFile, "-in", exe.Name(), "-out", exe.Name()+tt.suffix)...)
			if output, err := cmd.CombinedOutput(); err != nil {
				if tt.options != nil {
					t.Skipf("this openssl is older than 3.2: %s", output)
				}
				t.Fatalf("%v: %s", err, output)
			}
			if err := Signature(public)(context.Background(), exe); err != nil {
				t.Error(err)
			}
		})
	}
}
