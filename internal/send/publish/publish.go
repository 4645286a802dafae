// Package publish sends commands to the queue. It packs them by tenant, batches the messages, keeps the order per key if
// the queue does, bounds its memory, and sends again exactly the refused entries.
//
// The path of a command: Add encodes it into the open pack of its group. A pack that is full, or that has to make
// room, becomes a message and waits. A sender takes up to ten waiting messages, at most 1 MiB of them, for one
// SendMessageBatch. On a FIFO queue a group has at most one message in flight, so that a refused message can't be
// overtaken by the next one of its group.
//
// Without Linger, packing depends on the commands alone and not on time. So a rerun makes the same deduplication ids.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tributary/internal/aws/limits"
	"tributary/internal/messages"
)

// Queue is where commands are sent.
type Queue struct {
	Name string // as the user gave it, for messages to people
	URL  string
	FIFO bool
	// MessageBytes is the queue's MaximumMessageSize; 0 means the limit of SQS.
	MessageBytes int
}

// Defaults of Config.
const (
	// DefaultPackBytes is just under the 64 KiB that SQS bills as one request ("Amazon SQS pricing").
	DefaultPackBytes = 60 << 10
	// DefaultOpenBytes bounds the packs that are not full yet, in bytes and so also in number.
	DefaultOpenBytes = 16 << 20
	// DefaultConcurrency is how many SendMessageBatch calls are under way at most.
	DefaultConcurrency = 8
	// DefaultPatience is how long SQS may refuse everything before the publisher gives up.
	DefaultPatience = 2 * time.Minute
)

// packBytes is the memory of a pack besides its body: itself, its key, its map entry and its body's spare capacity.
const packBytes = 512

// waitingBytes is how much full packs may hold that no sender has taken yet: enough for the next two calls.
const waitingBytes = 2 * limits.SQSBatchBytes

// Config says how to pack and send. Zero values mean the defaults.
type Config struct {
	PackBytes    int // of a message at most, its attributes included
	PackCommands int // of a message at most; 0: as many as PackBytes hold
	OpenBytes    int
	Concurrency  int
	Patience     time.Duration
	// Linger is how long a command may wait for others before it is sent all the same; 0 means until the pack is
	// full or the publisher closes.
	Linger time.Duration
	// Scope keeps deduplication ids apart: a message sent again in another scope counts as new.
	Scope string
	// Trace returns the W3C trace context for the attributes of each message; empty strings are left out.
	Trace func(context.Context) (traceparent, tracestate string)
}

// TooLargeError says that a command is larger than a message of the queue may be.
type TooLargeError struct {
	Bytes, Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the command takes a message of %d bytes, the queue allows %d", e.Bytes, e.Limit)
}

// ErrClosed is returned by a publisher that was closed.
var ErrClosed = errors.New("publisher is closed")

// Stats count what SQS has accepted, and the calls it took.
type Stats struct {
	Commands int64
	Messages int64
	Bytes    int64 // of bodies and attributes
	Calls    int64 // SendMessageBatch calls, failed ones included
	Units    int64 // the 64 KiB units that SQS bills for these calls
	Refused  int64 // entries that SQS refused for a while
	// WriteUnits is the sum of the units given to Add.
	WriteUnits int64
}

// Add sums counts.
func (s *Stats) Add(other Stats) {
	s.Commands += other.Commands
	s.Messages += other.Messages
	s.Bytes += other.Bytes
	s.Calls += other.Calls
	s.Units += other.Units
	s.Refused += other.Refused
	s.WriteUnits += other.WriteUnits
}

// Publisher sends commands to one queue. Add, Cut and Close are called by one goroutine, the rest by any.
type Publisher struct {
	api     API
	queue   Queue
	cfg     Config
	ctx     context.Context // of the calls; cancelled when the publisher fails or has closed
	cancel  context.CancelFunc
	unhook  func() bool
	senders sync.WaitGroup
	scratch []byte // Add's own

	mu             sync.Mutex
	changed        sync.Cond // broadcast when the fields below change
	packs          map[packKey]*pack
	oldest, newest *pack // all packs, as a list by age
	open           int   // bytes of them
	waiting        []*message
	queued         int                  // bytes of waiting
	flying         map[packKey]struct{} // FIFO: the groups that a call is under way for
	hurry          bool                 // part-filled calls may go
	closed         bool                 // nothing more will be added
	failed         error                // the first failure: nothing more is sent
	fresh          int                  // messages packed since the last cut
	freshBytes     int                  // and their bytes
	cuts           []int                // messages not accepted yet, by the cut that they lie before
	accepted       int64                // cuts before which everything is accepted, and gone from cuts
	stats          Stats
}

// packKey tells packs apart: a message has one tenant and one group.
type packKey struct{ tenant, group string }

// pack collects the commands of one message.
type pack struct {
	key        packKey
	body       []byte
	commands   int
	units      int64
	at         int64 // position of the first command
	since      time.Time
	prev, next *pack
}

// message is a pack that is ready to be sent.
type message struct {
	key                     packKey
	body                    string
	bytes                   int // of body and attributes
	commands                int
	units                   int64
	at                      int64
	cut                     int64 // the number of the cut that it lies before
	since                   time.Time
	traceparent, tracestate string
}

// New returns a publisher that has started its senders. It must be closed. Cancelling ctx makes it fail.
func New(ctx context.Context, api API, q Queue, cfg Config) *Publisher {
	cfg.OpenBytes = cmp.Or(cfg.OpenBytes, DefaultOpenBytes)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, DefaultConcurrency)
	cfg.Patience = cmp.Or(cfg.Patience, DefaultPatience)
	q.MessageBytes = min(cmp.Or(q.MessageBytes, limits.SQSMessageBytes), limits.SQSMessageBytes)
	cfg.PackBytes = min(cmp.Or(cfg.PackBytes, DefaultPackBytes), q.MessageBytes)
	p := &Publisher{api: api, queue: q, cfg: cfg, packs: map[packKey]*pack{}, flying: map[packKey]struct{}{}, cuts: []int{0}}
	p.changed.L = &p.mu
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.unhook = context.AfterFunc(ctx, func() { p.fail(context.Cause(ctx)) })
	for range cfg.Concurrency {
		p.senders.Go(p.sendAll)
	}
	if cfg.Linger > 0 {
		p.senders.Go(p.flushLate)
	}
	return p
}

// Add packs a valid command. At is its position in what it came from: with the content it makes up the deduplication
// id. Units are the write units it costs, for Stats. Add waits while the senders are behind. A *TooLargeError means that
// only this command can't be sent; any other error is the publisher's failure. The command's strings are not kept.
func (p *Publisher) Add(c *messages.Command, at, units int64) error {
	if err := p.Fits(c); err != nil {
		return err
	}
	size := len(p.scratch) + p.overhead(c.TenantID)
	key := packKey{c.TenantID, messages.GroupID(c, p.queue.FIFO)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	k := p.packs[key]
	// Each command takes a byte more, for '[' or ',', and the last one for ']'.
	if k != nil && len(k.body)+1+size+1 > p.cfg.PackBytes {
		if err := p.seal(k); err != nil {
			return err
		}
		k = nil
	}
	if k == nil {
		k = p.openPack(key, at)
	}
	before := len(k.body)
	k.body = append(k.body, ',')
	k.body = append(k.body, p.scratch...)
	k.commands++
	k.units += units
	p.open += len(k.body) - before
	if k.commands == p.cfg.PackCommands {
		if err := p.seal(k); err != nil {
			return err
		}
	}
	for p.open > p.cfg.OpenBytes {
		if err := p.seal(p.oldest); err != nil {
			return err
		}
	}
	return nil
}

// Fits returns the *TooLargeError that Add would.
func (p *Publisher) Fits(c *messages.Command) error {
	p.scratch = messages.Append(p.scratch[:0], c)
	if size := len(p.scratch) + p.overhead(c.TenantID); size > p.queue.MessageBytes {
		return &TooLargeError{Bytes: size, Limit: p.queue.MessageBytes}
	}
	return nil
}

func (p *Publisher) usable() error {
	if p.failed == nil && p.closed {
		return ErrClosed
	}
	return p.failed
}

// overhead is the maximum size of the attributes of a message of this tenant.
func (p *Publisher) overhead(tenant string) int {
	n := len(attributeTenant) + len(attributeType) + len(tenant)
	if p.cfg.Trace != nil {
		n += len(attributeTraceParent) + len(attributeTraceState) + 2*len(attributeType) + traceBytes
	}
	return n
}

// openPack starts a pack. Strings of the key are copied: they would keep the row that they came from.
func (p *Publisher) openPack(key packKey, at int64) *pack {
	sameString := key.group == key.tenant
	key.tenant = strings.Clone(key.tenant)
	if key.group = strings.Clone(key.group); sameString {
		key.group = key.tenant
	}
	k := &pack{key: key, at: at, prev: p.newest}
	if p.cfg.Linger > 0 {
		k.since = time.Now()
	}
	if p.newest == nil {
		p.oldest = k
	} else {
		p.newest.next = k
	}
	p.newest = k
	p.packs[key] = k
	p.open += packBytes
	return k
}

// seal makes a message of a pack, once there is room for it.
func (p *Publisher) seal(k *pack) error {
	for p.queued >= waitingBytes && p.failed == nil {
		p.hurry = true
		p.changed.Broadcast()
		p.changed.Wait()
	}
	if p.failed != nil {
		return p.failed
	}
	if p.packs[k.key] == k { // flushLate may have sealed it in the meantime
		p.sealNow(k)
	}
	return nil
}

func (p *Publisher) sealNow(k *pack) {
	delete(p.packs, k.key)
	p.open -= len(k.body) + packBytes
	if k.prev == nil {
		p.oldest = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		p.newest = k.prev
	} else {
		k.next.prev = k.prev
	}
	m := &message{key: k.key, commands: k.commands, units: k.units, at: k.at, since: k.since, cut: p.accepted + int64(len(p.cuts)) - 1}
	if k.commands == 1 {
		m.body = string(k.body[1:])
	} else {
		k.body[0] = '['
		m.body = string(append(k.body, ']'))
	}
	m.bytes = len(m.body) + len(attributeTenant) + len(attributeType) + len(m.key.tenant)
	if p.cfg.Trace != nil {
		m.trace(p.cfg.Trace(p.ctx))
	}
	p.waiting = append(p.waiting, m)
	p.queued += m.bytes
	p.fresh++
	p.freshBytes += m.bytes
	p.cuts[len(p.cuts)-1]++
	p.changed.Broadcast()
}

// CutBytes is how much is packed between two cuts at most, where CutDue is heeded.
const CutBytes = 64 << 20

// CutDue says that a cut now would cost little, because few packs are open beside those sent since the last one, or
// that it has been long. It depends only on the commands added since then.
func (p *Publisher) CutDue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh >= 4*max(2, len(p.packs)) || p.freshBytes >= CutBytes
}

// Cut closes all packs and returns a number, counted from 1: when Accepted returns it, SQS has accepted everything
// that was added before.
func (p *Publisher) Cut() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return 0, err
	}
	for p.oldest != nil {
		if err := p.seal(p.oldest); err != nil {
			return 0, err
		}
	}
	p.fresh, p.freshBytes = 0, 0
	p.cuts = append(p.cuts, 0)
	return p.accepted + int64(len(p.cuts)) - 1, nil
}

// TakeAccepted returns how many cuts have everything before them accepted by SQS.
func (p *Publisher) TakeAccepted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.cuts) > 1 && p.cuts[0] == 0 {
		p.cuts = p.cuts[1:]
		p.accepted++
	}
	return p.accepted
}

// Stats returns the counts so far.
func (p *Publisher) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Close sends the remaining messages, waits until SQS has accepted them, and ends the senders. It returns the publisher's
// failure, if there was one; then not everything was accepted.
func (p *Publisher) Close() error {
	if _, err := p.Cut(); errors.Is(err, ErrClosed) {
		return nil
	}
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	p.senders.Wait()
	p.unhook()
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// fail notes the first failure and ends the senders.
func (p *Publisher) fail(err error) {
	p.mu.Lock()
	if p.failed == nil && !p.closedAndSent() {
		p.failed = err
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.cancel()
}

func (p *Publisher) closedAndSent() bool {
	for _, n := range p.cuts {
		if n > 0 {
			return false
		}
	}
	return p.closed
}
