package consumer

import "tributary/internal/limits"

// mostPollers is how many receives may be under way at once.
const mostPollers = 64

// The average fill of receives above which there is a backlog that more pollers would take, and below which the
// pollers take each other's messages.
const (
	fillGrow   = 9.5
	fillShrink = 5
)

// crew decides how many pollers there should be, from how full receives come back. One is always left.
type crew struct {
	pollers int
	fill    float64 // running average
}

// received notes a receive of n messages by one of the crew. It says whether another poller should start, or this one end.
func (c *crew) received(n int) (start, end bool) {
	c.fill += (float64(n) - c.fill) / 4
	switch {
	case n == limits.SQSBatchEntries && c.fill >= fillGrow && c.pollers < mostPollers:
		c.pollers++
		return true, false
	case c.pollers > 1 && (n == 0 || c.fill < fillShrink):
		c.pollers--
		return false, true
	}
	return false, false
}
