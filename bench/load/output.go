package main

import "sync"

// lastOutput keeps the end of what a process printed.
type lastOutput struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (o *lastOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if n := len(o.text) - 4096; n > 0 {
		o.text = o.text[n:]
	}
	return len(p), nil
}

func (o *lastOutput) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
