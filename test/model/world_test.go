package model

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tributary/internal/consumer"
	"tributary/internal/messages"
	"tributary/internal/tenants"
)

// kind is the kind of an event.
type kind uint8

const (
	sent      kind = iota
	received       // a process received a message
	receiving      // a process began a receive
	began          // a process began a write call
	applied        // a write of a call took effect
	ended          // a process received the answer of a write call, or gave the call up
	deleted        // a message was deleted
	changed        // a message's visibility was changed
	unchanged      // a change of a message's visibility failed
	lettered       // a dead letter was accepted
	redriven       // a message was received too often and was moved
	stopping       // a process was told to stop
	died           // a process was killed
	stopped        // a process that was told to stop has stopped
	decided        // operators have decided something about a tenant
	obeyed         // a process obeys a revision of what is decided
	stood          // a process stood still in the middle of a call
	removed        // an erasure has removed an item
)

// event is one entry of a history. Its kind decides which fields are set.
type event struct {
	kind     kind
	at       time.Duration // since the schedule began
	process  int
	message  *message
	receipt  int // a number: receives of all messages are counted
	call     int
	commands []messages.Command // began: all; applied: one
	timeout  time.Duration      // changed, unchanged
	late     bool               // applied: after the process gave the call up, or died
	twice    bool               // received: while it was invisible, as on a standard queue
	first    time.Duration      // received: time of the first receive, by any process or none
	certain  bool               // ended, lettered, changed: the process learned the true result
	letter   *consumer.Letter
	stop     *stop
	decision *tenants.Decision // decided
	revision int64             // decided, obeyed
	until    time.Duration     // obeyed: when it is too old to write by
	key      key               // removed
}

// stop is the report of a process that has stopped.
type stop struct {
	summary   consumer.Summary
	consumer  consumer.Stats
	waiting   int
	calls     int
	took      time.Duration
	limit     time.Duration
	invisible int // messages that it held and left invisible, other than by a nack with a delay
	calm      bool
}

// fate is how a command must end.
type fate uint8

const (
	good    fate = iota
	poison       // it can't be decoded
	refused      // the table refuses it
)

// bar is the forms in which the dead-letter queue refuses a command's letter for good.
type bar uint8

const (
	barPlain bar = iota + 1 // as it is
	barAll                  // and in an envelope
)

// command is a command as it was sent.
type command struct {
	messages.Command        // poison: only its tenant, if that is readable
	text             string // its own JSON text
	fate             fate
	reason           messages.Reason // "": any
}

// message is a message as it was sent.
type message struct {
	id       string
	body     string
	group    string
	tenant   string // message attribute
	commands []command
	whole    bool // the body can't be taken apart: one poison command stands for it
	wrapped  bool // the only command is poison and inside a wrapping: the letter may hold either
	barred   bool // a letter of it can't be sent in any form
	redriven bool // it is a letter, sent back
}

// world is the state and history of a schedule. mu guards all of it.
type world struct {
	mu      sync.Mutex
	draw    *draw
	began   time.Time
	faults  faults
	history []event
	broken  []string // rules of AWS that were violated
	queue   queue
	items   map[key]item
	control control
	ordered bool // a FIFO queue of one group, and nothing that may disturb the order of sending
	calls   int
	refuse  map[messages.Command]bool // what the table refuses
	barred  map[string]bar            // texts of commands that the dead-letter queue refuses for good
	changed chan struct{}             // closed and replaced when a message may have become visible
	late    sync.WaitGroup            // writes that have still to take effect
}

func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) note(e event) {
	e.at = w.now()
	w.history = append(w.history, e)
}

// violate records a call that AWS would refuse, or that no correct client makes.
func (w *world) violate(format string, args ...any) {
	if len(w.broken) < 20 {
		w.broken = append(w.broken, fmt.Sprintf("%8v ", w.now())+fmt.Sprintf(format, args...))
	}
}

func (w *world) wakeReceivers() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// draw makes a schedule's choices: from the fuzzer's bytes while there are any, then from a seeded generator.
type draw struct {
	bytes []byte
	rand  *rand.Rand
}

func newDraw(seed uint64, bytes []byte) *draw {
	return &draw{bytes, rand.New(rand.NewPCG(seed, 0x7472696275746172))}
}

// below returns a number from 0 to n-1.
func (d *draw) below(n int) int {
	if n <= 1 {
		return 0
	}
	if len(d.bytes) > 0 && n <= 256 {
		b := d.bytes[0]
		d.bytes = d.bytes[1:]
		return int(b) % n
	}
	return d.rand.IntN(n)
}

// hit reports whether an event happens that has a chance of so many in a thousand.
func (d *draw) hit(permille int) bool {
	return permille > 0 && d.below(256) < (permille*256+999)/1000
}

// upTo returns a time from 0 to longest.
func (d *draw) upTo(longest time.Duration) time.Duration {
	return longest * time.Duration(d.below(256)) / 256
}

func pick[T any](d *draw, values ...T) T { return values[d.below(len(values))] }

var kinds = [...]string{"sent", "received", "receiving", "began", "applied", "ended", "deleted", "changed", "unchanged", "lettered", "redriven", "stopping", "died", "stopped", "decided", "obeyed", "stood", "removed"}

func (e *event) String() string {
	s := fmt.Sprintf("%10v p%d %s", e.at, e.process, kinds[e.kind])
	if e.message != nil {
		s += fmt.Sprintf(" %s receipt %d", e.message.id, e.receipt)
	}
	if e.kind == sent {
		s += " " + e.message.group + " " + e.message.body
	}
	if e.call > 0 {
		s += fmt.Sprintf(" call %d", e.call)
	}
	for i := range e.commands {
		c := &e.commands[i]
		s += fmt.Sprintf(" [%v %v @%d %s%s]", c.Name(), keyOf(c), c.Version, c.Get("user_name"), c.Get("order_amount"))
	}
	switch e.kind {
	case applied:
		s += fmt.Sprintf(" late=%v", e.late)
	case ended:
		s += fmt.Sprintf(" certain=%v", e.certain)
	case changed, unchanged:
		s += fmt.Sprintf(" %v", e.timeout)
	case lettered:
		s += fmt.Sprintf(" %v certain=%v", e.letter.Attributes, e.certain)
	case decided:
		s += fmt.Sprintf(" %s %v letters=%v limit=%v revision %d", e.decision.Tenant, e.decision.Status, e.decision.Letters, e.decision.WriteUnits, e.revision)
	case obeyed:
		s += fmt.Sprintf(" revision %d until %v", e.revision, e.until)
	case removed:
		s += " " + e.key.String()
	case stopped:
		s += fmt.Sprintf(" %+v", *e.stop)
	}
	return s
}
