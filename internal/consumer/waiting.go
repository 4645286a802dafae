package consumer

import "sync"

// waitingShare is the part of the bounds of the room that messages may take up which only wait for their letters.
const waitingShare = 1.0 / 4

// waiting bounds what is held only until its letters are sent. It is apart from the room: a dead-letter queue that takes nothing
// must not keep the worker from receiving. What does not fit stays in the room, and goes back to the queue when its letters fail.
type waiting struct {
	commands int // the bounds
	bytes    int

	mu           sync.Mutex
	usedCommands int // guarded by mu
	usedBytes    int
}

func newWaiting(commands, bytes int) *waiting {
	return &waiting{commands: int(waitingShare * float64(commands)), bytes: int(waitingShare * float64(bytes))}
}

// enter lets a message in, if it fits or nothing waits.
func (w *waiting) enter(commands, bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.usedCommands > 0 && (w.usedCommands+commands > w.commands || w.usedBytes+bytes > w.bytes) {
		return false
	}
	w.usedCommands += commands
	w.usedBytes += bytes
	return true
}

func (w *waiting) leave(commands, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usedCommands -= commands
	w.usedBytes -= bytes
}
