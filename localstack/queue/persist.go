package queue

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tributary/localstack/store"
)

// What a store keeps of queues: of the kind queues each queue's attributes by its name, and for each queue, of kinds of
// its own, what a message never changes and its state, by its id, and the deduplication ids of the last five minutes.
const (
	kindQueues   = "queues"
	kindMessages = "messages/"
	kindStates   = "states/"
	kindDedup    = "dedup/"
)

func (q *queue) kind(of string) string { return of + q.id }

// definition is all of a queue but its messages.
type definition struct {
	ID       string
	Given    map[string]string
	Created  time.Time
	Modified time.Time
}

func (q *queue) definition() string {
	b, _ := json.Marshal(definition{q.id, q.settings.Load().given, q.created, q.modified}) //nolint:errchkjson // strings and times
	return string(b)
}

// save notes the queue's attributes.
func (q *queue) save() { q.server.store.Set(kindQueues, q.name, q.definition()) }

// forget notes that the queue is gone.
func (q *queue) forget() {
	q.server.store.Set(kindQueues, q.name, "")
	q.forgetMessages()
	q.server.store.Drop(q.kind(kindDedup))
}

func (q *queue) forgetMessages() {
	q.server.store.Drop(q.kind(kindMessages))
	q.server.store.Drop(q.kind(kindStates))
}

// saveMessage notes a new message.
func (q *queue) saveMessage(m *message) {
	if q.server.store == nil {
		return
	}
	q.server.store.Set(q.kind(kindMessages), string(m.id[:]), m.encode())
	if m.receives > 0 || m.state != visible {
		q.saveState(m)
	}
}

// saveState notes what a receive or a change of visibility made of a message.
func (q *queue) saveState(m *message) {
	if q.server.store == nil {
		return
	}
	q.server.store.Set(q.kind(kindStates), string(m.id[:]), m.encodeState())
}

func (q *queue) forgetMessage(m *message) {
	if q.server.store == nil {
		return
	}
	q.server.store.Set(q.kind(kindMessages), string(m.id[:]), "")
	q.server.store.Set(q.kind(kindStates), string(m.id[:]), "")
}

func (q *queue) saveDedup(key string, first sent, expires time.Time) {
	if q.server.store == nil {
		return
	}
	q.server.store.Set(q.kind(kindDedup), key, encodeDedup(first, expires))
}

func encodeDedup(first sent, expires time.Time) string {
	b := binary.BigEndian.AppendUint64(first.id[:], first.sequence)
	return string(binary.BigEndian.AppendUint64(b, uint64(expires.UnixNano()))) //nolint:gosec // read back likewise
}

// encode is what a message never changes: numbers, then texts with their lengths.
func (m *message) encode() string {
	b := make([]byte, 0, len(m.body)+len(m.attributes)+128)
	for _, n := range [...]uint64{m.sequence, m.order, uint64(m.sent)} { //nolint:gosec // read back likewise
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, m.sum[:]...)
	for _, s := range [...]string{m.attributes, m.trace, m.group, m.dedup, m.source, m.body} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return string(b)
}

func (m *message) decode(b string) error {
	for _, n := range [...]*uint64{&m.sequence, &m.order} {
		*n = number(&b)
	}
	m.sent = int64(number(&b)) //nolint:gosec // written likewise
	b = b[copy(m.sum[:], b):]
	for _, s := range [...]*string{&m.attributes, &m.trace, &m.group, &m.dedup, &m.source, &m.body} {
		n, width := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
		if width <= 0 || n > uint64(len(b)-width) {
			return errors.New("a message ends early")
		}
		*s = strings.Clone(b[width : width+int(n)]) //nolint:gosec // compared above
		b = b[width+int(n):]                        //nolint:gosec // compared above
	}
	return nil
}

// encodeState is what receives and changes of visibility change.
func (m *message) encodeState() string {
	b := []byte{byte(m.state)}
	for _, n := range [...]int64{int64(m.receives), int64(m.receipt), m.firstReceived, m.received, m.due} { //nolint:gosec // read back likewise
		b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // read back likewise
	}
	return string(b)
}

func (m *message) decodeState(b string) error {
	if len(b) != 1+5*8 || b[0] > byte(inFlight) {
		return errors.New("a message's state is malformed")
	}
	m.state, b = state(b[0]), b[1:]
	m.receives = int32(number(&b)) //nolint:gosec // written likewise
	m.receipt = number(&b)
	m.firstReceived, m.received, m.due = int64(number(&b)), int64(number(&b)), int64(number(&b)) //nolint:gosec // written likewise
	return nil
}

// number reads eight bytes, or 0 where there are fewer.
func number(b *string) uint64 {
	if len(*b) < 8 {
		*b = ""
		return 0
	}
	n := binary.BigEndian.Uint64([]byte((*b)[:8]))
	*b = (*b)[8:]
	return n
}

// Restorer takes in what a store kept, change by change. Nothing else may use its Server meanwhile.
type Restorer struct {
	server *Server
	queues map[string]string            // definitions by name
	kinds  map[string]map[string]string // all else
}

// Restorer begins to restore what a store kept into a Server that has no queues yet.
func (s *Server) Restorer() *Restorer {
	return &Restorer{server: s, queues: make(map[string]string), kinds: make(map[string]map[string]string)}
}

// Apply takes in one change, and says whether it was one of queues.
func (r *Restorer) Apply(kind, key, value string) (mine bool, err error) {
	var in map[string]string
	switch {
	case kind == kindQueues:
		in = r.queues
	case strings.HasPrefix(kind, kindMessages), strings.HasPrefix(kind, kindStates), strings.HasPrefix(kind, kindDedup):
		if in = r.kinds[kind]; in == nil {
			in = make(map[string]string)
			r.kinds[kind] = in
		}
	default:
		return false, nil
	}
	switch {
	case key == "":
		clear(in)
	case value == "":
		delete(in, key)
	default:
		in[key] = value
	}
	return true, nil
}

// Finish makes the queues. What is due becomes visible by the first call that looks.
func (r *Restorer) Finish() error {
	s := r.server
	names := slices.Sorted(maps.Keys(r.queues))
	for _, name := range names { // all, before what they say of each other is read
		var d definition
		if err := json.Unmarshal([]byte(r.queues[name]), &d); err != nil {
			return fmt.Errorf("read definition of queue %s: %w", name, err)
		}
		q := s.newQueue(name, strings.HasSuffix(name, ".fifo"), configure(d.Given), d.Created)
		q.id, q.modified = d.ID, d.Modified
		s.queues[name] = q
	}
	for _, name := range names {
		if err := r.fill(s.queues[name]); err != nil {
			return fmt.Errorf("restore queue %s: %w", name, err)
		}
	}
	// Numbers go on behind those that were given. Most are in no message any longer, so the clock helps.
	const aMillisecond = 16
	s.counter.Store(max(s.counter.Load(), uint64(time.Now().UnixMilli())*aMillisecond)) //nolint:gosec // after 1970
	r.queues, r.kinds = nil, nil
	return nil
}

func (r *Restorer) fill(q *queue) error {
	var all []*message
	states := r.kinds[q.kind(kindStates)]
	for id, kept := range r.kinds[q.kind(kindMessages)] {
		m := &message{position: -1}
		if copy(m.id[:], id) != len(m.id) {
			return errors.New("a message has no id")
		}
		if err := m.decode(kept); err != nil {
			return err
		}
		if state := states[id]; state != "" {
			if err := m.decodeState(state); err != nil {
				return err
			}
		}
		all = append(all, m)
		q.server.counter.Store(max(q.server.counter.Load(), m.order, m.sequence, m.receipt))
	}
	slices.SortFunc(all, func(a, b *message) int {
		if a.order < b.order {
			return -1
		}
		return 1
	})
	for _, m := range all {
		q.insert(m)
	}
	for key, kept := range r.kinds[q.kind(kindDedup)] {
		var first sent
		kept = kept[copy(first.id[:], kept):]
		first.sequence = number(&kept)
		q.remember(key, first, time.Unix(0, int64(number(&kept)))) //nolint:gosec // written likewise
	}
	slices.SortFunc(q.dedups, func(a, b dedupKey) int { return a.expires.Compare(b.expires) })
	return nil
}

// Keep makes the Server note every change in a store from now on.
func (s *Server) Keep(in *store.Store) { s.store = in }

// Dump gives all that a store has to keep, before the Server is used.
func (s *Server) Dump(set func(kind, key, value string)) {
	for _, q := range s.queues {
		set(kindQueues, q.name, q.definition())
		for id, m := range q.messages {
			set(q.kind(kindMessages), string(id[:]), m.encode())
			set(q.kind(kindStates), string(id[:]), m.encodeState())
		}
		for _, d := range q.dedups {
			set(q.kind(kindDedup), d.key, encodeDedup(q.dedup[d.key], d.expires))
		}
	}
}
