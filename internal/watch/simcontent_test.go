package watch_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/autorestart-go/autorestart/internal/elfimage"
	"github.com/autorestart-go/autorestart/internal/elfimage/elftest"
)

const loader = "/lib/ld.so"

var (
	nothing     = &content{name: "nothing"}
	thisMachine = func() elfimage.Kind {
		kind, err := elfimage.ReadKind(bytes.NewReader(plain()), int64(len(plain())))
		if err != nil {
			panic(err)
		}
		return kind
	}()
)

// plain is a program without a loader, and dynamic one with it.
var plain = sync.OnceValue(func() []byte {
	p := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	p.Loader = ""
	return p.Build(nil)
})

var dynamic = sync.OnceValue(func() []byte {
	p := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	p.Loader = loader + "\x00"
	return p.Build(nil)
})

// program returns a version. Some are longer than others.
func program(version int, needsLoader bool) *content {
	name, b := "version", bytes.Clone(plain())
	if needsLoader {
		name, b = "version with a loader", bytes.Clone(dynamic())
	}
	code := bytes.Index(b, []byte{0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc})
	binary.LittleEndian.PutUint32(b[code:], uint32(version))
	extent := len(b)
	if version%3 == 0 {
		b = append(b, make([]byte, version)...)
	}
	return &content{name: fmt.Sprintf("%s %d", name, version), bytes: b, good: true, extent: extent, loader: needsLoader}
}

const damages = 8

// damaged returns what is no program for this machine.
func damaged(n int) *content {
	foreign := elftest.New(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390)
	foreign.Loader = ""
	broken := elftest.New(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64)
	broken.Loader = ""
	switch n {
	case 0:
		return &content{name: "a program for another machine", bytes: foreign.Build(nil)}
	case 1:
		return &content{name: "a script", bytes: []byte("#!/bin/sh\necho hello\n")}
	case 2:
		return &content{name: "garbage", bytes: bytes.Repeat([]byte("garbage "), 80)}
	case 3:
		return &content{name: "zeros", bytes: make([]byte, len(plain()))}
	case 4:
		return nothing
	case 5:
		return &content{name: "a library", bytes: broken.Build(func(p *elftest.Parts) { p.Entry = 0 })}
	default:
		c := program(1000+n, false)
		return c.part(len(c.bytes) * (n - 5) / (damages - 4))
	}
}

func (c *content) equals(other *content) bool { return bytes.Equal(c.bytes, other.bytes) }

// part returns the beginning of a content.
func (c *content) part(size int) *content {
	return &content{name: fmt.Sprintf("%d bytes of %s", size, c.name), bytes: c.bytes[:size], unclear: c.good && size >= c.extent}
}

// overwritten returns a content whose beginning is that of another. It may look like a program.
func (c *content) overwritten(by *content, size int) *content {
	b := append(bytes.Clone(by.bytes[:size]), c.bytes[min(size, len(c.bytes)):]...)
	return &content{name: fmt.Sprintf("%s, with %d bytes of %s", c.name, size, by.name), bytes: b, unclear: true}
}
