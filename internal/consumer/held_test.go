package consumer

import (
	"testing"
	"testing/synctest"
	"time"
)

// A failed extension is tried again at the next tick, although much else has more time left.
func TestHeldTriesAFailedExtensionAgain(t *testing.T) {
	const timeout = 30 * time.Second
	start := time.Unix(1_700_000_000, 0)
	var h held
	old, young := make([]delivery, 2), make([]delivery, 1)
	for i := range old {
		old[i].receivedAt, old[i].deadline = start, start.Add(timeout)
	}
	h.add(old)
	now := start.Add(16 * time.Second)
	young[0].receivedAt, young[0].deadline = now, now.Add(timeout)
	h.add(young)

	for range 3 {
		if due, _ := h.due(now, timeout); len(due) != 2 {
			t.Fatalf("%d messages are due %v after they were received, want the 2 old ones", len(due), now.Sub(start))
		}
		for i := range old {
			h.extended(&old[i], retry, time.Time{})
		}
		now = now.Add(2 * time.Second)
	}
	h.startNack(&old[0])
	h.remove(&old[1])
	if due, _ := h.due(now, timeout); len(due) != 0 {
		t.Errorf("%d messages are due that are handed back or done", len(due))
	}
}

// TestDeliveryStates follows the state diagram in docs/architecture.md.
func TestDeliveryStates(t *testing.T) {
	const timeout = 30 * time.Second
	start := time.Unix(1_700_000_000, 0)
	due := func(h *held, d *delivery) { h.due(d.deadline.Add(-time.Second), timeout) }
	extended := func(r extension) func(*held, *delivery) {
		return func(h *held, d *delivery) { h.extended(d, r, d.deadline.Add(timeout)) }
	}
	nack := func(h *held, d *delivery) { h.startNack(d) }
	remove := func(h *held, d *delivery) { h.remove(d) }
	for _, test := range []struct {
		name  string
		steps []func(*held, *delivery)
		want  deliveryState
	}{
		{"it is added", nil, listed},
		{"it is due", []func(*held, *delivery){due}, extending},
		{"it is renewed", []func(*held, *delivery){due, extended(renewed)}, listed},
		{"its extension fails", []func(*held, *delivery){due, extended(retry)}, retrying},
		{"it is tried again", []func(*held, *delivery){due, extended(retry), due}, extending},
		{"its extension fails for good", []func(*held, *delivery){due, extended(lost)}, unextended},
		{"it has been held for 12 hours", []func(*held, *delivery){func(h *held, _ *delivery) { h.due(start.Add(12*time.Hour), timeout) }}, unextended},
		{"it is nacked", []func(*held, *delivery){nack}, nacking},
		{"it is nacked while it is extended", []func(*held, *delivery){due, nack}, nackAfterExtending},
		{"twice", []func(*held, *delivery){due, nack, nack}, nackAfterExtending},
		{"and the extension ends", []func(*held, *delivery){due, nack, extended(renewed)}, nacking},
		{"or fails", []func(*held, *delivery){due, nack, extended(retry)}, nacking},
		{"a nacked one is not due", []func(*held, *delivery){nack, due}, nacking},
		{"a nacked one is not tried again", []func(*held, *delivery){due, extended(retry), nack, due}, nacking},
		{"an unextended one is nacked", []func(*held, *delivery){due, extended(lost), nack}, nacking},
		{"it ends", []func(*held, *delivery){remove}, done},
		{"it ends while it is extended", []func(*held, *delivery){due, remove, extended(renewed)}, done},
		{"it ends after its extension failed", []func(*held, *delivery){due, extended(retry), remove, due}, done},
		{"nothing follows its end", []func(*held, *delivery){remove, nack, due}, done},
	} {
		var h held
		ds := make([]delivery, 1)
		d := &ds[0]
		d.receivedAt, d.deadline = start, start.Add(timeout)
		h.add(ds)
		for _, step := range test.steps {
			step(&h, d)
		}
		onList := h.list.First() == d
		if d.state != test.want || onList != (test.want == listed) {
			t.Errorf("%s: the state is %d, on the list: %v, want %d", test.name, d.state, onList, test.want)
		}
		if held := h.len(); held != 1 && test.want != done || held != 0 && test.want == done {
			t.Errorf("%s: %d are held", test.name, held)
		}
	}
}

func TestExtensionResult(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, test := range []struct {
		name    string
		failure *Failure
		until   time.Duration
		want    extension
	}{
		{"no failure", nil, -time.Second, renewed},
		{"it may be tried again", &Failure{}, time.Second, retry},
		{"the message is visible", &Failure{}, 0, lost},
		{"for good", &Failure{Final: true}, time.Second, lost},
	} {
		if got := extensionResult(test.failure, now.Add(test.until), now); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestDrainOfWhatIsClosed: a drain that begins after the end does not wait for what stays held.
func TestDrainOfWhatIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := held{empty: make(chan struct{})}
		h.add(make([]delivery, 1))
		if n := h.close(); n != 1 {
			t.Errorf("%d are held", n)
		}
		h.drain() // the bubble reports a deadlock if it waits
	})
}
