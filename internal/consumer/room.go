package consumer

import (
	"context"
	"sync"
)

// room bounds what is held. Pollers reserve before they receive, by an estimate, and correct the reservation when
// they know: so what is held exceeds the bound by what the estimates were short, at most one receive a poller.
type room struct {
	commands int // the bounds
	bytes    int

	mu           sync.Mutex
	freed        *sync.Cond
	usedCommands int // guarded by mu
	usedBytes    int
	// What a message has carried lately: a running estimate that follows a rise at once and a fall slowly.
	perMessageCommands float64
	perMessageBytes    float64
}

func newRoom(commands, bytes int) *room {
	r := &room{commands: commands, bytes: bytes, perMessageCommands: 1, perMessageBytes: 1024}
	r.freed = sync.NewCond(&r.mu)
	return r
}

// reservation is room set aside for one receive.
type reservation struct{ commands, bytes int }

// mostReserved is the part of the room that one receive may reserve. Where messages are so large that a receive could take all
// of it, a poller would else have to wait until nothing is held, and one command that can't be written now would keep
// everybody from receiving.
const mostReserved = 1.0 / 4

// reserve waits until there is room for so many messages, and returns false when ctx ends first. Who holds
// nothing is always let in, so that one message larger than all the room can pass.
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
			commands: int(min(float64(messages)*r.perMessageCommands, max(float64(messages), mostReserved*float64(r.commands)))),
			bytes:    int(min(float64(messages)*r.perMessageBytes, mostReserved*float64(r.bytes))),
		}
		if r.usedCommands == 0 || r.usedCommands+want.commands <= r.commands && r.usedBytes+want.bytes <= r.bytes {
			r.usedCommands += want.commands
			r.usedBytes += want.bytes
			return want, true
		}
		r.freed.Wait()
	}
	return reservation{}, false
}

// settle replaces a reservation by what was received in so many messages.
func (r *room) settle(v reservation, messages, commands, bytes int) {
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
	r.usedCommands += commands - v.commands
	r.usedBytes += bytes - v.bytes
	if commands < v.commands || bytes < v.bytes {
		r.freed.Broadcast()
	}
	r.mu.Unlock()
}

// release gives room back.
func (r *room) release(commands, bytes int) {
	r.mu.Lock()
	r.usedCommands -= commands
	r.usedBytes -= bytes
	r.freed.Signal()
	r.mu.Unlock()
}

func (r *room) used() (commands, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usedCommands, r.usedBytes
}
