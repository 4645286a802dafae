package consumer

import (
	"testing"
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
