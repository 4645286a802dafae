package consumer

import (
	"context"
	"sync"
)

// room limits what is held. A poller reserves room before it receives, by an estimate, and corrects the reservation afterwards.
// So the limit is exceeded by the error of the estimates, at most one receive per poller.
type room struct {
	maxCommands int // set once
	maxBytes    int // set once

	mu       sync.Mutex
	freed    *sync.Cond // on mu
	commands int        // held or reserved; guarded by mu
	bytes    int        // held or reserved; guarded by mu
	// Running estimates of what one message carries. They follow a rise at once and a fall slowly. Guarded by mu.
	perMessageCommands float64
	perMessageBytes    float64
}

func newRoom(commands, bytes int) *room {
	r := &room{maxCommands: commands, maxBytes: bytes, perMessageCommands: 1, perMessageBytes: 1024}
	r.freed = sync.NewCond(&r.mu)
	return r
}

// reservation is room set aside for one receive.
type reservation struct{ commands, bytes int }

// maxReserved caps one receive at a quarter of the room. Otherwise, with very large messages, a poller would wait for an empty
// room, and one stuck command would stop all receiving.
const maxReserved = 1.0 / 4

// reserve waits until there is room for so many messages. It returns false if ctx ends first. An empty room always has room, so
// that one message larger than all of it can pass.
func (r *room) reserve(ctx context.Context, messages int) (reservation, bool) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.freed.Broadcast()
		r.mu.Unlock()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for ctx.Err() == nil {
		want := reservation{
			commands: int(min(float64(messages)*r.perMessageCommands, max(float64(messages), maxReserved*float64(r.maxCommands)))),
			bytes:    int(min(float64(messages)*r.perMessageBytes, maxReserved*float64(r.maxBytes))),
		}
		if r.commands == 0 || r.commands+want.commands <= r.maxCommands && r.bytes+want.bytes <= r.maxBytes {
			r.commands += want.commands
			r.bytes += want.bytes
			return want, true
		}
		r.freed.Wait()
	}
	return reservation{}, false
}

// correct replaces a reservation by what the receive brought.
func (r *room) correct(v reservation, messages, commands, bytes int) {
	follow := func(estimate *float64, seen float64) {
		if seen > *estimate {
			*estimate = seen
		} else {
			*estimate += (seen - *estimate) / 16
		}
	}
	r.mu.Lock()
	if messages > 0 {
		follow(&r.perMessageCommands, float64(commands)/float64(messages))
		follow(&r.perMessageBytes, float64(bytes)/float64(messages))
	}
	r.commands += commands - v.commands
	r.bytes += bytes - v.bytes
	if commands < v.commands || bytes < v.bytes {
		r.freed.Broadcast()
	}
	r.mu.Unlock()
}

// release gives room back.
func (r *room) release(commands, bytes int) {
	r.mu.Lock()
	r.commands -= commands
	r.bytes -= bytes
	r.freed.Signal()
	r.mu.Unlock()
}
