package consumer

import "tributary/internal/aws/limits"

// mostPollers is how many receives may be under way at once.
const mostPollers = 64

// growAfter is how many receives in a row, the whole crew's, come back full before another poller starts: a few may
// be chance, more are a backlog. At the start one is enough.
const growAfter = 8

// crew decides how many pollers there should be, from how full receives come back. One is always left.
type crew struct {
	pollers int
	fill    float64 // running average of a receive
	full    int     // full receives in a row
	settled bool    // a receive came back that was not full
}

// received notes a receive of n messages by one of the crew. It says whether another poller should start, or this one end.
func (c *crew) received(n int) (start, end bool) {
	c.fill += (float64(n) - c.fill) / 4
	if n == limits.SQSBatchEntries {
		c.full++
		if c.settled && c.full < growAfter || c.pollers == mostPollers {
			return false, false
		}
		c.pollers++
		return true, false
	}
	c.full, c.settled = 0, true
	// One poller fewer would have taken as much, with receives that are fuller.
	if c.pollers > 1 && (n == 0 || c.fill*float64(c.pollers) < 1.05*limits.SQSBatchEntries*float64(c.pollers-1)) {
		c.pollers--
		c.fill = c.fill * float64(c.pollers+1) / float64(c.pollers)
		return false, true
	}
	return false, false
}
