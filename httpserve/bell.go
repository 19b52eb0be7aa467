package httpserve

import "sync"

// A bell tells all who wait for something to look again.
type bell struct {
	mu sync.Mutex
	c  chan struct{}
}

// next is to be called before looking: the channel is closed at the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}
