//go:build unix

package verify_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/autorestart-go/autorestart"
	"github.com/autorestart-go/autorestart/verify"
)

// A new version of this daemon must be signed, and must accept its configuration.
func Example() {
	publicKey := make(ed25519.PublicKey, ed25519.PublicKeySize) // from your build system
	r := autorestart.Restarter{
		Verify: verify.All(
			verify.Signature(publicKey),
			verify.Run(10*time.Second, "-check-config"),
		),
	}
	go func() { log.Print(r.Run(context.Background())) }()
}

// A function of the program's own, beside those of this package: on weekends nothing is
// deployed.
func ExampleFunc() {
	var onWeekdays verify.Func = func(context.Context, *os.File) error {
		if day := time.Now().Weekday(); day == time.Saturday || day == time.Sunday {
			return errors.New("it is " + day.String())
		}
		return nil
	}
	r := autorestart.Restarter{Verify: verify.All(onWeekdays, verify.Run(10*time.Second, "-check"))}
	go func() { log.Print(r.Run(context.Background())) }()
}

func ExampleRun() {
	exe, err := os.Open("/bin/sh")
	if err != nil {
		panic(err)
	}
	defer exe.Close()
	check := verify.Run(10*time.Second, "-c", "exit 0")
	fmt.Println(check(context.Background(), exe))
	check = verify.Run(10*time.Second, "-c", "echo port 0: out of range; exit 3")
	fmt.Println(check(context.Background(), exe))
	// Output:
	// <nil>
	// autorestart: found a failed run of /bin/sh -c echo port 0: out of range; exit 3: exit status 3, output "port 0: out of range", expected exit status 0 within 10s
}

func ExampleSignature() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	name, content := filepath.Join(dir, "app"), []byte("the executable")
	os.WriteFile(name, content, 0o755)
	exe, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	defer exe.Close()

	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	check := verify.Signature(public)
	fmt.Println("unsigned is accepted:", check(context.Background(), exe) == nil)
	os.WriteFile(name+verify.SignatureSuffix, ed25519.Sign(private, content), 0o644)
	fmt.Println("signed is accepted:", check(context.Background(), exe) == nil)
	// Output:
	// unsigned is accepted: false
	// signed is accepted: true
}

// Ed25519ph signs the SHA-512 of the content: neither the signer nor the daemon needs memory
// of the size of the executable.
func ExampleSignature_prehashed() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "app")
	os.WriteFile(name, []byte("the executable"), 0o755)
	exe, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	defer exe.Close()

	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	hash := sha512.New()
	if _, err := io.Copy(hash, exe); err != nil {
		panic(err)
	}
	signature, err := private.Sign(nil, hash.Sum(nil), &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		panic(err)
	}
	os.WriteFile(name+verify.PrehashedSignatureSuffix, signature, 0o644)
	fmt.Println(verify.Signature(public)(context.Background(), exe))
	// Output:
	// <nil>
}
