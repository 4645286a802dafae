package writer

import (
	"time"

	"tributary/internal/base/list"
	"tributary/internal/messages"
	"tributary/internal/operate/telemetry"
)

// Outcome is the fate of a write.
type Outcome uint8

// The outcomes. Pending is the zero value: the writer still holds the write.
const (
	Pending    Outcome = iota
	Written            // it is durable
	Superseded         // a later write for its key overtook it and is durable, or was stale itself
	Stale              // the table holds a newer version
	Refused            // it can never be written: Refusal has the reason
	HandedBack         // it was not written, and the writer no longer holds it
	Erased             // its tenant is erased: it was not written, or what it may have written is deleted again
)

func (o Outcome) String() string {
	return [...]string{"pending", "written", "superseded", "stale", "dead_lettered", "handed_back", "erased"}[o]
}

// Write is one command on its way into the table. The state diagram is in docs/architecture.md.
type Write struct {
	Command messages.Command
	// The scheduler sets Outcome, Refusal and SettledAt when it settles the write. The caller may read them once Owner is told.
	Outcome Outcome
	// The scheduler owns the rest but Refusal and SettledAt. Writer.mu guards it, except for group, which does not change during a
	// call. There are as many writes as the room holds commands, so small fields stand together.
	suspected bool // it was refused alone, and the table took a probe afterwards
	alone     bool // it makes DynamoDB fail, so it shares no call with others
	charged   bool // its tenant's bucket has paid cost for the call that it is part of
	used      used // by its last call; the goroutine that sends the call sets it
	Refusal   *messages.Error
	SettledAt time.Time

	group       *Group
	queue       *keyQueue        // the queue of its key
	node        list.Node[Write] // its place among the writes that wait in that queue
	overtook    *Write           // the newest write that it overtook, which may have overtaken another, and so on
	overtakenBy *Write           // the write that overtook it
	rank        int64            // its version, or the time of its first receive: the higher wins
	submitted   uint64           // how many writes were submitted before it: decides between equal ranks
	units       int32            // write units of the table, by the item's size
	cost        int32            // write units of the table and its indexes, by estimate
	bytes       int32            // of the item
	failures    int32            // calls that may or may not have written it
	// was is the command as it came, while Command is the delete of its key because its tenant is erased; nil otherwise.
	was      *messages.Command
	ownQueue keyQueue // storage for the queue of its key, used by the first write of a key: saves an allocation
}

// Versioned reports whether the write is conditional on the item's version.
func (w *Write) Versioned() bool { return w.Command.Version > 0 }

// Owner is told once, when every write of its group is settled. The goroutine that settled the last write calls it without
// holding any lock of the writer. It must not block for long.
type Owner interface{ Settled(*Group) }

// Group is the writes of one message. They are settled one by one. They are handed back only together, while none of them is
// touched. The writer owns a group from the moment Submit accepts it until it tells Owner; before and after, the caller does.
type Group struct {
	Owner  Owner
	Writes []Write
	// Span traces the message's processing. Calls that write its commands link to it.
	Span telemetry.Span
	// Received orders unversioned writes to one key: the later wins, whichever was submitted first. It is the time of the
	// message's first receive by the queue's clock, in any unit. Equal times keep the order of submission. 0: unknown.
	Received int64
	// Hold forbids handing the group back because of a tenant's share. Messages of a FIFO queue wait in the writer instead.
	Hold bool
	// Redelivered says that the message was received before, perhaps by a worker that has written some of it. If its tenant
	// is erased, its keys are deleted before it is settled.
	Redelivered bool
	// Later is the next message of the same group of a FIFO queue, of those that one receive brought; nil: there is none. When the
	// writer hands a group back because of a suspension, or refuses it, all later ones go back too, so that their order stays.
	// The caller sets it before it submits the first of them.
	Later *Group

	// The scheduler owns the rest. Writer.mu guards it until Owner is told.
	arrived   time.Time // when the writer took it
	pending   int       // writes that are not settled
	inFlight  int       // writes that are part of a call
	touched   bool      // one of its writes was settled other than by handing back, or may have been written
	abandoned bool      // unwritten writes are handed back instead of retried
	submitted bool      // the writer has taken it
	back      Admission // why it went back
	away      time.Duration
}

// Admission says whether the writer takes a group, and if not, why.
type Admission uint8

// The admissions. The zero value is that of a group that was taken.
const (
	Admitted  Admission = iota
	Stalled             // one of its tenants is stalled and holds its share
	Limited             // one of its tenants has used up its limit and holds its share
	Suspended           // one of its tenants is suspended, or an earlier message of its FIFO group went back for that
	Closed              // the writer was closed, or the group abandoned
)

// Back says why the writer handed writes of the group back. It may be called once Owner is told.
func (g *Group) Back() Admission { return g.back }

// Away returns for how long the message should stay away, of a group that was refused or handed back as Limited: its turn comes then.
func (g *Group) Away() time.Duration { return g.away }

// Touched reports whether a write of the group was written, superseded, stale or refused, or may have been written.
func (g *Group) Touched() bool { return g.touched }
