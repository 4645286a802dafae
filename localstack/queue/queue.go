package queue

import (
	"container/heap"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/btree"
)

// queue is one queue's messages.
//
// A queue's lock is taken before the server's, which guards nothing but the map of queues, and never together with
// another queue's: a message that moves to a dead-letter queue is handed over when its own queue is no longer held.
type queue struct {
	server   *Server
	name     string
	id       string // tells its messages in a store from those of another queue of that name
	arn      string
	fifo     bool
	created  time.Time
	settings atomic.Pointer[settings]

	mu       sync.Mutex // guards what follows
	modified time.Time
	purged   time.Time
	messages map[messageID]*message // all of them
	timers   timers                 // delayed and in flight, by when they become visible
	inFlight int
	ready    btree.Map[uint64, *message] // standard: visible messages, in the order in which they became so
	open     btree.Map[uint64, *group]   // FIFO: groups whose first message may be received, likewise
	places   uint64                      // the last key of ready and open
	groups   map[string]*group           // FIFO
	dedup    map[string]sent             // FIFO: what was sent in the last five minutes
	dedups   []dedupKey                  // the same by age
	dead     []*message                  // on the way to the dead-letter queue: see move
	arrived  chan struct{}               // closed and replaced when something becomes visible
}

// group is a FIFO queue's message group: its messages in order, those in flight included.
type group struct {
	id       string
	messages btree.Map[uint64, *message]
	inFlight int
	place    uint64 // in the queue's open groups, 0 outside
}

// first is the group's first message, nil where it has none.
func (g *group) first() *message {
	_, m, _ := g.messages.Min()
	return m
}

// sent is the answer that a repeated deduplication id gets again.
type sent struct {
	id       messageID
	sequence uint64
}

type dedupKey struct {
	key     string
	expires time.Time
}

// timers is a heap of messages by due time.
type timers []*message

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due < t[j].due }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].position, t[j].position = int32(i), int32(j) //nolint:gosec // memory ends before
}
func (t *timers) Push(x any) {
	m := x.(*message)
	m.position = int32(len(*t)) //nolint:gosec // memory ends before
	*t = append(*t, m)
}
func (t *timers) Pop() any {
	last := len(*t) - 1
	m := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	m.position = -1
	return m
}

// post takes in a message that was sent now and returns what the sender is told: on a FIFO queue the first
// message's id and number when the deduplication id was seen in the last five minutes, deleted since or not.
func (q *queue) post(m *message, delay time.Duration, now time.Time) sent {
	if q.fifo {
		for len(q.dedups) > 0 && !q.dedups[0].expires.After(now) {
			delete(q.dedup, q.dedups[0].key)
			q.server.store.Set(q.kind(kindDedup), q.dedups[0].key, "")
			q.dedups = q.dedups[1:]
		}
		key := m.dedup
		if q.settings.Load().deduplicationScope == "messageGroup" {
			key = m.group + "\x00" + m.dedup
		}
		if first, seen := q.dedup[key]; seen {
			return first
		}
		m.sequence = q.server.number()
		q.remember(key, sent{m.id, m.sequence}, now.Add(deduplication))
		q.saveDedup(key, sent{m.id, m.sequence}, now.Add(deduplication))
	}
	m.sent = now.UnixNano()
	q.add(m, now.Add(delay), now)
	return sent{m.id, m.sequence}
}

func (q *queue) remember(key string, first sent, expires time.Time) {
	q.dedup[key] = first
	q.dedups = append(q.dedups, dedupKey{key, expires})
}

// add puts m into the queue, visible from due on.
func (q *queue) add(m *message, due, now time.Time) {
	m.order = q.server.number()
	m.state, m.due = visible, 0
	if due.After(now) {
		m.state, m.due = delayed, due.UnixNano()
	}
	q.insert(m)
	q.saveMessage(m)
}

// insert puts m where its state says.
func (q *queue) insert(m *message) {
	q.messages[m.id] = m
	if q.fifo {
		g := q.groups[m.group]
		if g == nil {
			g = &group{id: m.group}
			q.groups[m.group] = g
		}
		g.messages.Set(m.order, m)
		if m.state == inFlight {
			g.inFlight++
		}
	}
	if m.state == visible {
		q.show(m)
		return
	}
	if m.state == inFlight {
		q.inFlight++
	}
	heap.Push(&q.timers, m)
	if q.fifo {
		q.refresh(q.groups[m.group])
	}
}

// show makes m visible and wakes the long polls.
func (q *queue) show(m *message) {
	m.state = visible
	if q.fifo {
		q.refresh(q.groups[m.group])
		return
	}
	q.places++
	m.place = q.places
	q.ready.Set(m.place, m)
	q.wake()
}

func (q *queue) wake() {
	close(q.arrived)
	q.arrived = make(chan struct{})
}

// refresh opens or closes g: it is open while none of its messages is in flight and its first one is visible.
func (q *queue) refresh(g *group) {
	first := g.first()
	ready := g.inFlight == 0 && first != nil && first.state == visible
	switch {
	case ready && g.place == 0:
		q.places++
		g.place = q.places
		q.open.Set(g.place, g)
		q.wake()
	case !ready && g.place != 0:
		q.open.Delete(g.place)
		g.place = 0
	}
	if first == nil {
		delete(q.groups, g.id)
	}
}

// leave takes m out of whatever its state keeps it in, but for the queue's map and its group.
func (q *queue) leave(m *message) {
	if m.state == inFlight {
		q.inFlight--
	}
	if m.position >= 0 {
		heap.Remove(&q.timers, int(m.position))
	}
	if q.fifo {
		if m.state == inFlight {
			q.groups[m.group].inFlight--
		}
	} else if m.state == visible {
		q.ready.Delete(m.place)
	}
}

// remove deletes m.
func (q *queue) remove(m *message) {
	q.detach(m)
	q.forgetMessage(m)
}

// detach takes m out of the queue, but not out of the store.
func (q *queue) detach(m *message) {
	q.leave(m)
	delete(q.messages, m.id)
	if q.fifo {
		g := q.groups[m.group]
		g.messages.Delete(m.order)
		q.refresh(g)
	}
}

// advance makes visible what is due.
func (q *queue) advance(now time.Time) {
	for len(q.timers) > 0 && q.timers[0].due <= now.UnixNano() {
		m := q.timers[0]
		q.leave(m)
		q.show(m)
	}
}

// expired holds for a message past the queue's retention period.
func (q *queue) expired(m *message, now time.Time) bool {
	return now.UnixNano()-m.sent >= int64(q.settings.Load().retention)
}

// sweep drops what is past the retention period, unless it is in flight.
func (q *queue) sweep(now time.Time) {
	for _, m := range q.messages {
		if m.state != inFlight && q.expired(m, now) {
			q.remove(m)
		}
	}
}

// taken is a message as it was received.
type taken struct {
	message
	handle string
}

// receive hands out up to n messages, as copies. Messages that have been received too often leave for the dead-letter
// queue on the way, as on AWS: at the receive that is one too many, not at the timeout before it.
func (q *queue) receive(n int, timeout time.Duration, now time.Time) []taken {
	q.advance(now)
	var chosen []*message
	for len(chosen) < n && q.inFlight < q.server.options.InFlightLimit {
		if !q.fifo {
			_, m, ok := q.ready.Min()
			if !ok {
				break
			}
			chosen = q.take(chosen, m, timeout, now)
			continue
		}
		_, g, ok := q.open.Min()
		if !ok {
			break
		}
		for len(chosen) < n && g.messages.Len() > 0 { // in order, up to the first that is not visible
			m := firstWaiting(g)
			if m == nil {
				break
			}
			chosen = q.take(chosen, m, timeout, now)
		}
		q.refresh(g)
	}
	out := make([]taken, 0, len(chosen))
	for _, m := range chosen {
		out = append(out, taken{*m, q.handle(m)})
		if timeout == 0 {
			q.leave(m)
			q.show(m)
		}
		q.saveState(m)
	}
	return out
}

// firstWaiting is the next message of g that this receive may take: the first one after those in flight.
func firstWaiting(g *group) (found *message) {
	g.messages.Scan(func(_ uint64, m *message) bool {
		if m.state == visible {
			found = m
		}
		return m.state == inFlight
	})
	return found
}

// take marks the visible message m received and appends it, or drops it as too old or too often received.
func (q *queue) take(chosen []*message, m *message, timeout time.Duration, now time.Time) []*message {
	if q.expired(m, now) {
		q.remove(m)
		return chosen
	}
	if r := q.settings.Load().redrive; r != nil && int(m.receives) >= r.MaxReceiveCount {
		if target := q.server.byARN(r.DeadLetterTargetARN); target != nil {
			q.detach(m)
			m.source = q.arn
			if target.fifo {
				m.sent = now.UnixNano()
			}
			q.dead = append(q.dead, m)
			return chosen
		}
	}
	q.leave(m)
	m.state = inFlight
	m.receives++
	m.received = now.UnixNano()
	m.due = now.Add(timeout).UnixNano()
	if m.firstReceived == 0 {
		m.firstReceived = m.received
	}
	m.receipt = q.server.number()
	q.inFlight++
	heap.Push(&q.timers, m)
	if q.fifo {
		q.groups[m.group].inFlight++
	}
	return append(chosen, m)
}

// move hands what a receive found dead to the dead-letter queue. Nothing is held. The message is noted there before it
// is forgotten here, so that it is kept whenever the process ends.
func (q *queue) move(dead []*message, now time.Time) {
	for _, m := range dead {
		r := q.settings.Load().redrive
		var target *queue
		if r != nil {
			target = q.server.byARN(r.DeadLetterTargetARN)
		}
		if target == nil { // deleted in this moment
			target = q
		}
		target.mu.Lock()
		target.add(m, now, now)
		target.mu.Unlock()
		if target != q {
			q.forgetMessage(m)
		}
	}
}

// handle is the receipt handle of m's last receive.
func (q *queue) handle(m *message) string {
	return base64.StdEncoding.EncodeToString([]byte(q.name + "/" + m.id.String() + "/" + strconv.FormatUint(m.receipt, 10)))
}

// find reads a receipt handle. The message is nil where it is gone; current says whether the handle is that of
// its last receive.
func (q *queue) find(handle string) (m *message, current bool, err *apiError) {
	if handle == "" {
		return nil, false, errMissing("ReceiptHandle")
	}
	b, decodeErr := base64.StdEncoding.DecodeString(handle)
	parts := strings.Split(string(b), "/")
	if decodeErr != nil || len(parts) != 3 || parts[0] != q.name {
		return nil, false, errHandle(handle)
	}
	receipt, parseErr := strconv.ParseUint(parts[2], 10, 64)
	id, idErr := uuid.Parse(parts[1])
	if parseErr != nil || idErr != nil {
		return nil, false, errHandle(handle)
	}
	m = q.messages[messageID(id)]
	return m, m != nil && m.receipt == receipt, nil
}

// delete deletes by receipt handle. On standard queues it succeeds whatever the handle's age, but only the last
// receive's handle deletes; on FIFO queues a handle is good for as long as its message is in flight.
func (q *queue) delete(handle string, now time.Time) *apiError {
	q.advance(now)
	m, current, err := q.find(handle)
	if err != nil || m == nil {
		return err
	}
	if q.fifo && (!current || m.state != inFlight) {
		return errValue("ReceiptHandle", handle, "The receipt handle has expired.")
	}
	if current {
		q.remove(m)
	}
	return nil
}

// change sets the visibility timeout of a message in flight.
func (q *queue) change(handle string, seconds int32, now time.Time) *apiError {
	if seconds < 0 || seconds > maxVisibilitySeconds {
		return errValue("VisibilityTimeout", seconds, "VisibilityTimeout must be an integer between 0 and 43200")
	}
	q.advance(now)
	m, current, err := q.find(handle)
	if err != nil {
		return err
	}
	if m == nil || !current {
		return errValue("ReceiptHandle", handle, "Message does not exist or is not available for visibility timeout change.")
	}
	if m.state != inFlight {
		return fail("MessageNotInflight", legacy+"MessageNotInflight", "The message referred to isn't in flight.")
	}
	due := now.Add(time.Duration(seconds) * time.Second).UnixNano()
	if due-m.received > int64(maxVisibilitySeconds*time.Second) {
		return errValue("VisibilityTimeout", seconds, "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	}
	if seconds == 0 {
		q.leave(m)
		q.show(m)
	} else {
		m.due = due
		heap.Fix(&q.timers, int(m.position))
	}
	q.saveState(m)
	return nil
}

// purge deletes every message.
func (q *queue) purge(now time.Time) *apiError {
	if now.Sub(q.purged) < betweenPurges {
		return fail("PurgeQueueInProgress", legacy+"PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.name)
	}
	q.purged = now
	clear(q.messages)
	clear(q.groups)
	q.timers = nil
	q.ready.Clear()
	q.open.Clear()
	q.inFlight = 0
	q.forgetMessages()
	return nil
}

// counts are the three approximate numbers.
func (q *queue) counts() (visible, invisible, waiting int) {
	waiting = len(q.timers) - q.inFlight
	return len(q.messages) - len(q.timers), q.inFlight, waiting
}

// next is when the queue's next message becomes visible by itself, false if none will.
func (q *queue) next() (time.Time, bool) {
	if len(q.timers) == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, q.timers[0].due), true
}

func (q *queue) url(base string) string {
	return fmt.Sprintf("%s/%s/%s", base, q.server.options.Account, q.name)
}
