package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tributary/internal/consumer"
	"tributary/internal/messages"
)

// queue is the state of an SQS queue. The world's mutex guards it.
type queue struct {
	fifo        bool
	visibility  time.Duration
	maxReceives int
	stored      []*stored
	receipts    map[string]*stored // by every handle that was ever given out
	count       int                // receives of messages
	served      time.Duration      // the millisecond of the last receive that brought messages
	ghosts      []time.Duration    // ends of long polls that clients abandoned: SQS serves them until then
}

// stored is a message on the queue.
type stored struct {
	message  *message
	visible  time.Duration // when it becomes visible
	sent     time.Time
	first    time.Duration // the first receive
	receives int
	receipt  int // the latest
	handle   string
	received time.Duration
	owner    int  // the process that received it last
	asked    bool // it is invisible because its owner asked for a delay
	lost     bool // its owner never saw the latest receive
	gone     bool
	twice    bool // a standard queue delivered it while it was invisible
}

func (q *queue) left() int {
	n := 0
	for _, s := range q.stored {
		if !s.gone {
			n++
		}
	}
	return n
}

// send puts a message on the queue.
func (w *world) send(m *message) {
	w.queue.stored = append(w.queue.stored, &stored{message: m, sent: time.Now(), visible: w.now()})
	w.note(event{kind: sent, message: m})
	w.wakeReceivers()
}

// ready returns the messages that can be received now, and when another becomes visible. Of each group of a FIFO queue only
// the messages before the first invisible one can be received.
func (w *world) ready(duplicates bool) (now []*stored, next time.Duration) {
	at := w.now()
	blocked := map[string]bool{}
	for _, s := range w.queue.stored {
		if s.gone {
			continue
		}
		invisible := s.visible > at
		if invisible && (next == 0 || s.visible < next) {
			next = s.visible
		}
		if w.queue.fifo {
			if invisible {
				blocked[s.message.group] = true
			}
			if blocked[s.message.group] {
				continue
			}
		} else if invisible {
			if !duplicates || s.twice || s.receives == 0 || !w.draw.hit(w.faults.duplicate) {
				continue
			}
			s.twice = true
		}
		now = append(now, s)
	}
	return now, next
}

// serve gives some of the ready messages to a process, or to nobody.
func (w *world) serve(ready []*stored, process, maxMessages int, lost bool) []consumer.Message {
	if !w.queue.fifo && w.draw.below(2) == 0 {
		for i := range ready {
			j := i + w.draw.below(len(ready)-i)
			ready[i], ready[j] = ready[j], ready[i]
		}
	}
	if n := 1 + w.draw.below(maxMessages); n < len(ready) {
		ready = ready[:n]
	}
	var out []consumer.Message
	for _, s := range ready {
		if lost && s.visible > w.now() {
			continue // a copy that nobody saw would only invalidate the first handle
		}
		s.receives++
		if s.receives > w.queue.maxReceives {
			s.gone = true
			w.note(event{kind: redriven, message: s.message})
			continue
		}
		twice := s.visible > w.now()
		w.queue.count++
		s.receipt, s.handle = w.queue.count, "receipt-"+strconv.Itoa(w.queue.count)
		s.received, s.visible = w.now(), w.now()+w.queue.visibility
		s.owner, s.asked, s.lost = process, false, lost
		if s.receives == 1 {
			s.first = w.now()
		}
		w.queue.receipts[s.handle] = s
		if lost {
			continue
		}
		w.note(event{kind: received, process: process, message: s.message, receipt: s.receipt, twice: twice, first: s.first})
		out = append(out, consumer.Message{
			ID: s.message.id, ReceiptHandle: s.handle, Body: s.message.body, GroupID: s.message.group, ReceiveCount: s.receives,
			SentAt: s.sent, FirstReceivedAt: w.began.Add(s.first), Attributes: messages.Attributes{TenantID: s.message.tenant},
		})
	}
	return out
}

// haunt lets abandoned long polls take messages.
func (w *world) haunt() {
	w.queue.ghosts = slices.DeleteFunc(w.queue.ghosts, func(until time.Duration) bool {
		if until <= w.now() {
			return true
		}
		ready, _ := w.ready(false)
		if len(ready) == 0 {
			return false
		}
		w.serve(ready, 0, 10, true)
		return true
	})
}

// sqs is the queue as one process sees it. It implements consumer.Queue.
type sqs struct{ *process }

// Receive implements consumer.Queue.
func (q sqs) Receive(ctx context.Context, maxMessages int, wait time.Duration) ([]consumer.Message, error) {
	w := q.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if maxMessages < 1 || maxMessages > 10 || wait < 0 || wait > 20*time.Second {
		w.violate("ReceiveMessage of %d messages, waiting %v", maxMessages, wait)
	}
	q.pollers++
	defer func() { q.pollers-- }()
	w.note(event{kind: receiving, process: q.id, call: q.pollers})
	until := w.now() + wait
	for {
		if q.dead {
			return nil, errNetwork
		}
		if w.now() < w.faults.outage && w.draw.below(2) == 0 || w.draw.hit(w.faults.receive) {
			q.sleep(10 * time.Millisecond)
			return nil, errServer
		}
		w.haunt()
		if ms := w.now() / time.Millisecond; ms == w.queue.served { // workers order messages by SQS's clock, which has no finer unit
			q.sleep(time.Millisecond)
			continue
		}
		if ready, _ := w.ready(true); len(ready) > 0 {
			lost := w.draw.hit(w.faults.receiveLost)
			w.queue.served = w.now() / time.Millisecond
			out := w.serve(ready, q.id, maxMessages, lost)
			if lost {
				return nil, errNetwork
			}
			if len(out) > 0 {
				// Either of two answers may be faster. A FIFO queue promises nothing about keys in several groups: the worker then
				// promises the order of arrival, not that of the queue's clock.
				transfer := time.Millisecond
				if !w.queue.fifo {
					transfer += time.Duration(w.draw.below(30)) * time.Millisecond
				}
				q.sleep(transfer)
				return out, nil
			}
		}
		_, next := w.ready(false)
		if next == 0 || next > until {
			next = until
		}
		if until <= w.now() {
			return nil, nil
		}
		changed := w.changed
		w.mu.Unlock()
		t := time.NewTimer(next - w.now())
		var err error
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-q.killed:
			err = errNetwork
		}
		t.Stop()
		w.mu.Lock()
		if err != nil {
			if !q.dead && w.now() < until && (q.asked == 0 || w.now() < q.asked+q.drain) {
				w.violate("process %d abandons a long poll, which will still take messages", q.id)
			}
			w.queue.ghosts = append(w.queue.ghosts, until)
			return nil, err
		}
	}
}

// sleep sleeps without the world's mutex.
func (p *process) sleep(d time.Duration) {
	p.mu.Unlock()
	time.Sleep(d)
	p.mu.Lock()
}

// entries carries out the entries of a batch call. lost and fail point at chances. act carries out one entry and returns the code
// of a refusal that is the sender's fault. failed is told of each entry that failed.
func (q sqs) entries(ctx context.Context, name string, n int, handle func(int) string, lost, fail *int, act func(s *stored, i int, certain bool) string, failed func(*stored, int)) ([]consumer.Failure, error) {
	w := q.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.dead {
		return nil, nil
	}
	if n < 1 || n > 10 {
		w.violate("%s of %d entries", name, n)
	}
	seen := map[string]bool{}
	for i := range n {
		if seen[handle(i)] {
			w.violate("%s has %s twice", name, handle(i))
		}
		seen[handle(i)] = true
	}
	q.sleep(time.Duration(1+w.draw.below(4)) * time.Millisecond)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if q.dead {
		return nil, nil
	}
	if w.now() < w.faults.outage || w.draw.hit(*fail) {
		for i := range n {
			failed(w.queue.receipts[handle(i)], i)
		}
		return nil, errServer
	}
	var failures []consumer.Failure
	unheard := w.draw.hit(*lost)
	for i := range n {
		s := w.queue.receipts[handle(i)]
		if s == nil {
			w.violate("%s of a handle that SQS never gave: %q", name, handle(i))
			continue
		}
		if w.draw.hit(*fail) {
			failures = append(failures, consumer.Failure{Index: i, Code: "InternalError"})
			failed(s, i)
			continue
		}
		if code := act(s, i, !unheard); code != "" {
			failed(s, i)
			failures = append(failures, consumer.Failure{Index: i, Code: code, Final: true})
		}
	}
	if unheard {
		return nil, errNetwork
	}
	return failures, nil
}

// Delete implements consumer.Queue. An old handle deletes nothing, without an error.
func (q sqs) Delete(ctx context.Context, handles []string) ([]consumer.Failure, error) {
	w := q.world
	return q.entries(ctx, "DeleteMessageBatch", len(handles), func(i int) string { return handles[i] }, &w.faults.deleteLost, &w.faults.delete, func(s *stored, i int, _ bool) string {
		if s.gone || s.handle != handles[i] {
			return ""
		}
		if w.queue.fifo && s.visible <= w.now() {
			return "InvalidParameterValue" // the receipt handle has expired
		}
		s.gone = true
		w.note(event{kind: deleted, process: q.id, message: s.message, receipt: s.receipt})
		w.wakeReceivers() // a group may go on
		return ""
	}, func(*stored, int) {})
}

// ChangeVisibility implements consumer.Queue.
func (q sqs) ChangeVisibility(ctx context.Context, changes []consumer.Visibility) ([]consumer.Failure, error) {
	w := q.world
	return q.entries(ctx, "ChangeMessageVisibilityBatch", len(changes), func(i int) string { return changes[i].ReceiptHandle }, &w.faults.changeLost, &w.faults.change, func(s *stored, i int, certain bool) string {
		timeout := (changes[i].Timeout + time.Second - 1) / time.Second * time.Second
		switch {
		case timeout < 0 || timeout > 12*time.Hour:
			w.violate("a visibility timeout of %v", timeout)
			return "InvalidParameterValue"
		case s.gone:
			return "InvalidParameterValue"
		case s.handle != changes[i].ReceiptHandle || s.visible <= w.now():
			return "MessageNotInflight"
		case w.now()+timeout-s.received > 12*time.Hour:
			return "InvalidParameterValue"
		}
		s.visible = w.now() + timeout
		s.asked = changes[i].Timeout != w.queue.visibility
		w.note(event{kind: changed, process: q.id, message: s.message, receipt: s.receipt, timeout: changes[i].Timeout, certain: certain})
		w.wakeReceivers()
		return ""
	}, func(s *stored, i int) {
		if s != nil && s.handle == changes[i].ReceiptHandle {
			w.note(event{kind: unchanged, process: q.id, message: s.message, receipt: s.receipt, timeout: changes[i].Timeout})
		}
	})
}

// dlq is the dead-letter queue as one process sees it. It implements consumer.DeadLetterQueue.
type dlq struct{ *process }

var errAway = errors.New("dial tcp: connection refused")

// Send implements consumer.DeadLetterQueue.
func (q dlq) Send(ctx context.Context, letters []consumer.Letter) ([]consumer.Failure, error) {
	w := q.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.dead {
		return nil, nil
	}
	q.check(letters)
	q.sleep(time.Duration(1+w.draw.below(4)) * time.Millisecond)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if q.dead {
		return nil, nil
	}
	if w.now() < w.faults.dlqAway || w.now() < w.faults.outage {
		return nil, errAway
	}
	lost := w.draw.hit(w.faults.letterLost)
	var failures []consumer.Failure
	for i := range letters {
		if w.draw.hit(w.faults.letter) {
			failures = append(failures, consumer.Failure{Index: i, Code: "InternalError"})
			continue
		}
		command, enclosed := opened(letters[i].Body)
		if bar := w.barred[command]; bar == barAll || bar == barPlain && !enclosed || !sqsTakes(letters[i].Body) {
			failures = append(failures, consumer.Failure{Index: i, Code: "InvalidMessageContents", Final: true})
			continue
		}
		w.note(event{kind: lettered, process: q.id, letter: &letters[i], certain: !lost})
		w.redrive(&letters[i])
	}
	if lost {
		return nil, errNetwork
	}
	return failures, nil
}

// sqsTakes reports whether SQS takes a text as a body.
func sqsTakes(body string) bool {
	return utf8.ValidString(body) && !strings.ContainsAny(body, "\x00\x01\x1f\ufffe\uffff")
}

// opened takes the envelope off a letter's body, if there is one.
func opened(body string) (command string, enclosed bool) {
	var e struct {
		Type string `json:"type"`
		Data []byte `json:"data_base64"`
	}
	if json.Unmarshal([]byte(body), &e) != nil || e.Type != "tributary.dead-letter" {
		return body, false
	}
	return string(e.Data), true
}

// redrive sends some letters to the queue again, as an operator would: with the letter's body and tenant_id.
func (w *world) redrive(l *consumer.Letter) {
	a := l.Attributes
	var of *message
	for _, s := range w.queue.stored {
		if s.message.id == a["source_message_id"] {
			of = s.message
		}
	}
	suspended := a["reason"] == string(messages.ReasonTenantSuspended)
	if of == nil || !suspended && (of.redriven || a["reason"] != string(messages.ReasonTenantMismatch) || w.draw.below(3) != 0) {
		return
	}
	i, err := strconv.Atoi(a["source_index"])
	if err != nil || i >= len(of.commands) {
		return
	}
	again := &message{
		id: fmt.Sprintf("redriven%d-%s", len(w.queue.stored), of.id), body: l.Body, group: l.GroupID, tenant: a["tenant_id"],
		commands: of.commands[i : i+1], redriven: true,
	}
	if suspended {
		again.id = fmt.Sprintf("resumed%d-%s", len(w.history), of.id)
		w.control.letters = append(w.control.letters, again)
		return
	}
	w.send(again)
}

// check enforces the rules of SQS for SendMessageBatch.
func (q dlq) check(letters []consumer.Letter) {
	if len(letters) < 1 || len(letters) > 10 {
		q.violate("SendMessageBatch of %d entries", len(letters))
	}
	size := 0
	for _, l := range letters {
		size += len(l.Body)
		if l.Body == "" || len(l.Attributes) > 10 {
			q.violate("a letter with the body %q and %d attributes", l.Body, len(l.Attributes))
		}
		for name, value := range l.Attributes {
			size += len(name) + len("String") + len(value)
			if name == "" || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) {
				q.violate("a letter's attribute %s is %q", name, value)
			}
		}
		if q.queue.fifo && (l.GroupID == "" || len(l.GroupID) > 128 || l.DeduplicationID == "") {
			q.violate("a FIFO letter with group %q and deduplication id %q", l.GroupID, l.DeduplicationID)
		}
	}
	if size > 1<<20 {
		q.violate("SendMessageBatch of %d bytes", size)
	}
}

func (s *stored) String() string {
	return fmt.Sprintf("%s receives=%d visible=%v owner=%d asked=%v lost=%v", s.message.id, s.receives, s.visible, s.owner, s.asked, s.lost)
}
