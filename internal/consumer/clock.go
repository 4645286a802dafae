package consumer

import "time"

// mostSkew is how far SQS's clock may run ahead of what this worker makes of it: far more than an answer ever takes, and far less than
// what does harm.
const mostSkew = time.Minute

// believeAfter is how many first receives in a row must agree on a time that is not plausible until it is believed: then it is
// this machine's clock that is wrong, or SQS's has been set.
const believeAfter = 16

// clock judges the times that SQS gives. One message from the future must not make everything that comes after it look old:
// unversioned writes would be passed over until that time has come.
type clock struct {
	base  time.Time     // this machine's, when it began; its monotonic reading goes on from there
	ahead time.Duration // by which SQS's clock is ahead of it, at most what was seen; negative where it is behind
	odd   int           // first receives in a row that are not plausible
}

// plausible returns a time of SQS's, in milliseconds, or what the time is now by SQS's clock where that can't be. fresh says that SQS set
// it just now.
func (k *clock) plausible(at int64, now time.Time, fresh bool) int64 {
	here := k.base.UnixMilli() + now.Sub(k.base).Milliseconds()
	ahead := time.Duration(at-here) * time.Millisecond
	switch likely := ahead <= k.ahead+mostSkew; {
	case likely && fresh:
		k.ahead, k.odd = min(k.ahead, ahead), 0
	case !likely && fresh:
		k.odd++
	}
	if k.odd >= believeAfter {
		k.ahead, k.odd = ahead, 0
	}
	if ahead <= k.ahead+mostSkew {
		return at
	}
	return here + k.ahead.Milliseconds()
}
