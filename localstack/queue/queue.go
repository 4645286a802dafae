package queue

import (
	"container/heap"
	"container/list"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tributary/internal/aws/limits"
)

// queue is one queue's messages. The server's mutex guards it.
type queue struct {
	server   *Server
	name     string
	arn      string
	fifo     bool
	settings settings
	tags     map[string]string
	created  time.Time
	modified time.Time
	purged   time.Time

	messages map[string]*message // all of them, by id
	timers   timers              // delayed and in flight, by when they become visible
	inFlight int
	ready    list.List         // standard: visible messages; FIFO: groups whose first message may be received
	groups   map[string]*group // FIFO
	dedup    map[string]sent   // FIFO: what was sent in the last five minutes
	dedups   []dedupKey        // the same by age
	arrived  chan struct{}     // closed and replaced when something becomes visible
}

// group is a FIFO queue's message group: its messages in order, those in flight included.
type group struct {
	id       string
	messages list.List
	inFlight int
	element  *list.Element // in the queue's ready list, nil outside
}

// sent is the answer that a repeated deduplication id gets again.
type sent struct{ id, sequence string }

type dedupKey struct {
	key     string
	expires time.Time
}

// timers is a heap of messages by due time.
type timers []*message

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].position, t[j].position = i, j
}
func (t *timers) Push(x any) {
	m := x.(*message)
	m.position = len(*t)
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
			q.dedups = q.dedups[1:]
		}
		key := m.dedup
		if q.settings.deduplicationScope == "messageGroup" {
			key = m.group + "\x00" + m.dedup
		}
		if first, seen := q.dedup[key]; seen {
			return first
		}
		m.sequence = q.server.sequence()
		m.id = uuid.NewString()
		q.dedup[key] = sent{m.id, m.sequence}
		q.dedups = append(q.dedups, dedupKey{key, now.Add(limits.SQSDeduplication)})
	} else {
		m.id = uuid.NewString()
	}
	m.sent = now
	q.add(m, now.Add(delay), now)
	return sent{m.id, m.sequence}
}

// add puts m into the queue, visible from due on.
func (q *queue) add(m *message, due, now time.Time) {
	q.messages[m.id] = m
	if q.fifo {
		g := q.groups[m.group]
		if g == nil {
			g = &group{id: m.group}
			q.groups[m.group] = g
		}
		m.element = g.messages.PushBack(m)
	}
	if due.After(now) {
		m.state, m.due = delayed, due
		heap.Push(&q.timers, m)
		return
	}
	q.show(m)
}

// show makes m visible and wakes the long polls.
func (q *queue) show(m *message) {
	m.state = visible
	if q.fifo {
		q.refresh(q.groups[m.group])
		return
	}
	m.element = q.ready.PushBack(m)
	q.wake()
}

func (q *queue) wake() {
	close(q.arrived)
	q.arrived = make(chan struct{})
}

// refresh puts g into the ready list or takes it out: it is ready while none of its messages is in flight and
// its first one is visible.
func (q *queue) refresh(g *group) {
	front := g.messages.Front()
	ready := g.inFlight == 0 && front != nil && front.Value.(*message).state == visible
	switch {
	case ready && g.element == nil:
		g.element = q.ready.PushBack(g)
		q.wake()
	case !ready && g.element != nil:
		q.ready.Remove(g.element)
		g.element = nil
	}
	if front == nil {
		delete(q.groups, g.id)
	}
}

// leave takes m out of whatever its state keeps it in, but for the queue's map.
func (q *queue) leave(m *message) {
	if m.state == inFlight {
		q.inFlight--
	}
	if m.position >= 0 {
		heap.Remove(&q.timers, m.position)
	}
	if !q.fifo {
		if m.state == visible {
			q.ready.Remove(m.element)
		}
		return
	}
	g := q.groups[m.group]
	if m.state == inFlight {
		g.inFlight--
	}
}

// remove deletes m.
func (q *queue) remove(m *message) {
	q.leave(m)
	delete(q.messages, m.id)
	if q.fifo {
		g := q.groups[m.group]
		g.messages.Remove(m.element)
		q.refresh(g)
	}
}

// advance makes visible what is due.
func (q *queue) advance(now time.Time) {
	for len(q.timers) > 0 && !q.timers[0].due.After(now) {
		m := q.timers[0]
		q.leave(m)
		q.show(m)
	}
}

// expired holds for a message past the queue's retention period.
func (q *queue) expired(m *message, now time.Time) bool {
	return now.Sub(m.sent) >= q.settings.retention
}

// sweep drops what is past the retention period, unless it is in flight.
func (q *queue) sweep(now time.Time) {
	for _, m := range q.messages {
		if m.state != inFlight && q.expired(m, now) {
			q.remove(m)
		}
	}
}

// receive hands out up to n messages, as copies. Messages that have been received too often move to the
// dead-letter queue on the way, as on AWS: at the receive that is one too many, not at the timeout before it.
func (q *queue) receive(n int, timeout time.Duration, now time.Time) []message {
	q.advance(now)
	var taken []*message
	for len(taken) < n && q.inFlight < q.server.options.InFlightLimit {
		front := q.ready.Front()
		if front == nil {
			break
		}
		if !q.fifo {
			taken = q.take(taken, front.Value.(*message), timeout, now)
			continue
		}
		g := front.Value.(*group)
		for len(taken) < n && g.messages.Len() > 0 { // in order, up to the first that is not visible
			m := firstWaiting(g)
			if m == nil {
				break
			}
			taken = q.take(taken, m, timeout, now)
		}
		q.refresh(g)
	}
	out := make([]message, 0, len(taken))
	for _, m := range taken {
		out = append(out, *m)
		if timeout == 0 {
			q.leave(m)
			q.show(m)
		}
	}
	return out
}

// firstWaiting is the next message of g that this receive may take: the first one after those in flight.
func firstWaiting(g *group) *message {
	for e := g.messages.Front(); e != nil; e = e.Next() {
		switch m := e.Value.(*message); m.state {
		case visible:
			return m
		case delayed:
			return nil
		case inFlight:
		}
	}
	return nil
}

// take marks the visible message m received and appends it, or drops it as too old or too often received.
func (q *queue) take(taken []*message, m *message, timeout time.Duration, now time.Time) []*message {
	if q.expired(m, now) {
		q.remove(m)
		return taken
	}
	if r := q.settings.redrive; r != nil && m.receives >= r.MaxReceiveCount {
		if target := q.server.byARN(r.DeadLetterTargetARN); target != nil {
			q.remove(m)
			m.source = q.arn
			if target.fifo {
				m.sent = now
			}
			target.add(m, now, now)
			return taken
		}
	}
	q.leave(m)
	m.state = inFlight
	m.receives++
	m.received = now
	m.due = now.Add(timeout)
	if m.firstReceived.IsZero() {
		m.firstReceived = now
	}
	m.receipt = q.server.number()
	q.inFlight++
	heap.Push(&q.timers, m)
	if q.fifo {
		q.groups[m.group].inFlight++
	}
	return append(taken, m)
}

// handle is the receipt handle of m's last receive.
func (q *queue) handle(m *message) string {
	return base64.StdEncoding.EncodeToString([]byte(q.name + "/" + m.id + "/" + strconv.FormatUint(m.receipt, 10)))
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
	if parseErr != nil {
		return nil, false, errHandle(handle)
	}
	m = q.messages[parts[1]]
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
	if seconds < 0 || seconds > int32(limits.SQSMaxVisibility/time.Second) {
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
	timeout := time.Duration(seconds) * time.Second
	if now.Add(timeout).Sub(m.received) > limits.SQSMaxVisibility {
		return errValue("VisibilityTimeout", seconds, "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	}
	if timeout == 0 {
		q.leave(m)
		q.show(m)
		return nil
	}
	m.due = now.Add(timeout)
	heap.Fix(&q.timers, m.position)
	return nil
}

// purge deletes every message.
func (q *queue) purge(now time.Time) *apiError {
	if now.Sub(q.purged) < time.Minute {
		return fail("PurgeQueueInProgress", legacy+"PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.name)
	}
	q.purged = now
	q.messages = make(map[string]*message)
	q.groups = make(map[string]*group)
	q.timers = nil
	q.ready.Init()
	q.inFlight = 0
	return nil
}

// counts are the three approximate numbers.
func (q *queue) counts() (visible, invisible, waiting int) {
	waiting = len(q.timers) - q.inFlight
	return len(q.messages) - len(q.timers), q.inFlight, waiting
}

// next is when the queue's next message becomes visible by itself, the zero time if none will.
func (q *queue) next() time.Time {
	if len(q.timers) == 0 {
		return time.Time{}
	}
	return q.timers[0].due
}

func (q *queue) url(base string) string {
	return fmt.Sprintf("%s/%s/%s", base, q.server.options.Account, q.name)
}
