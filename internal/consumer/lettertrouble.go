package consumer

import (
	"fmt"
	"sync"
	"time"
)

// letterTroubleLasts is how long letters count as failing after a failed call that no other call followed.
const letterTroubleLasts = time.Minute

// letterTrouble records since when letters can't be sent.
type letterTrouble struct {
	mu     sync.Mutex
	since  time.Time // zero: a letter of the last call was accepted; guarded by mu
	latest time.Time // the last call in which no letter was accepted; guarded by mu
	why    string    // it failed; guarded by mu
}

// saw records a call of n letters that was answered at now. call is its error.
func (t *letterTrouble) saw(now time.Time, n int, failed batchFailures, call error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range n {
		if failed.of(i) == nil {
			t.since = time.Time{}
			return
		}
	}
	if t.since.IsZero() {
		t.since = now
	}
	t.latest = now
	if t.why = fmt.Sprint("refused: ", failed.of(0).Code); call != nil {
		t.why = call.Error()
	}
}

// at returns since when no letter could be sent, and why. Zero: letters can be sent, or none was tried lately.
func (t *letterTrouble) at(now time.Time) (since time.Time, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.latest) > letterTroubleLasts {
		return time.Time{}, ""
	}
	return t.since, t.why
}

// LettersFail returns since when no dead letter could be sent although some were tried, and why. Zero: they can be sent.
func (c *Consumer) LettersFail() (since time.Time, why string) { return c.letterTrouble.at(time.Now()) }
