package writer

import (
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/telemetry"
)

// Outcome is what became of a write.
type Outcome uint8

// The outcomes. Pending is the zero value: the write is still the writer's.
const (
	Pending    Outcome = iota
	Written            // it is durable
	Superseded         // a later write for its key that overtook it is durable, or was stale itself
	Stale              // the table holds a newer version
	Refused            // it can never be written: Refusal says why
	HandedBack         // it was not written, and the writer no longer holds it
)

func (o Outcome) String() string {
	return [...]string{"pending", "written", "superseded", "stale", "dead_lettered", "handed_back"}[o]
}

// Write is one command on its way into the table.
type Write struct {
	Command messages.Command
	// Outcome, Refusal and SettledAt are set when the write is settled, and are the owner's to read from the
	// moment at which the group's Owner is told.
	Outcome   Outcome
	Refusal   *messages.Error
	SettledAt time.Time

	// What follows belongs to the scheduler.
	group   *Group
	line    *line  // the queue of its key
	before  *Write // its neighbours among the writes that wait at its key
	behind  *Write
	over    *Write // the write that it overtook, which may have overtaken another, and so on: newest first
	by      *Write // the write that overtook it
	rank    int64  // its version, or when it was received: the higher wins
	arrived time.Time
	// submitted counts the writes before it, to tell which of equal rank came first.
	submitted uint64
	units     int
	bytes     int
	failures  int  // calls that may or may not have written it
	alone     bool // it shares no call with others: it makes DynamoDB fail
	own       line // the queue of its key, when it is the first to arrive there: saves an allocation
}

// Versioned says that the write goes by a condition on the item's version.
func (w *Write) Versioned() bool { return w.Command.Version > 0 }

// Owner is told once when every write of its group is settled. It is called without any lock of the writer's,
// from the goroutine that settled the last one, and must not block for long.
type Owner interface{ Settled(*Group) }

// Group is the writes that came in one message. They are settled one by one, and handed back only all together
// while nothing of them was written. The caller owns a group until Submit has accepted it, and again from the
// moment at which Owner is told.
type Group struct {
	Owner  Owner
	Writes []Write
	// Span is that of the message's processing; calls that write its commands link to it.
	Span telemetry.Span
	// Received orders unversioned writes to one key: the later wins, whichever was submitted first. It is when the message
	// was first received, by one clock, the queue's, in any unit; equal times are in the order of submission. 0: unknown.
	Received int64
	// Hold forbids to hand the group back for the sake of a tenant's share: a FIFO queue's messages wait here.
	Hold bool

	pending   int  // writes that are not settled
	flying    int  // writes that are part of a call
	touched   bool // something of it was written, refused, or may have been written
	abandoned bool // what is not written any more is handed back
}

// Touched says that something of the group was written, refused or may have been written.
func (g *Group) Touched() bool { return g.touched }
