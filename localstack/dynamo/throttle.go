package dynamo

import (
	"math"
	"time"
)

// bucket holds the write units that a partition key has left: a second's worth at most.
type bucket struct {
	tokens float64
	at     time.Time
}

// take pays units, or says that they aren't there. What costs more than a whole second's worth waits until the bucket
// is full and then goes, so that nothing is refused for ever. A rate of 0 refuses nothing.
func (b *bucket) take(units, rate int, now time.Time) bool {
	if rate == 0 {
		return true
	}
	if b.at.IsZero() {
		b.tokens, b.at = float64(rate), now
	}
	b.tokens = math.Min(float64(rate), b.tokens+now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	if b.tokens < float64(min(units, rate)) {
		return false
	}
	b.tokens -= float64(units)
	return true
}

// writeUnits is what writing one item costs: its size before or after, whichever is larger, in units of 1 KB.
func writeUnits(before, after int) int {
	return max(1, (max(before, after)+writeUnitBytes-1)/writeUnitBytes)
}

// readUnits is what reading bytes costs: units of 4 KB, half as much where the read is eventually consistent.
func readUnits(bytes int, consistent bool) float64 {
	units := float64(max(1, (bytes+readUnitBytes-1)/readUnitBytes))
	if consistent {
		return units
	}
	return units / 2
}
