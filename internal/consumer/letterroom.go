package consumer

import "sync"

// letterRoomShare is the size of the letter room as a part of the room.
const letterRoomShare = 1.0 / 4

// letterRoom limits the messages that are held only until their letters are sent. It is apart from the room, so that a
// dead-letter queue that takes nothing does not keep the worker from receiving. A message that does not fit stays in the room,
// and is nacked when its letters fail.
type letterRoom struct {
	maxCommands int // set once
	maxBytes    int // set once

	mu       sync.Mutex
	commands int // guarded by mu
	bytes    int // guarded by mu
}

func newLetterRoom(commands, bytes int) *letterRoom {
	return &letterRoom{maxCommands: int(letterRoomShare * float64(commands)), maxBytes: int(letterRoomShare * float64(bytes))}
}

// enter lets a message in if it fits. The first always does.
func (r *letterRoom) enter(commands, bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.commands > 0 && (r.commands+commands > r.maxCommands || r.bytes+bytes > r.maxBytes) {
		return false
	}
	r.commands += commands
	r.bytes += bytes
	return true
}

func (r *letterRoom) leave(commands, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands -= commands
	r.bytes -= bytes
}
