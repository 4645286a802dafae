package consumer

import (
	"context"
	"errors"
	"time"

	"tributary/internal/messages"
	"tributary/internal/operate/metrics"
	"tributary/internal/tenants"
	"tributary/internal/writer"
)

// deadLetter sends a message's dead letters. The message is deleted when SQS has accepted the last one.
//
// Letters go in rounds of maxLettersPerRound. A letter that fails goes again in the next round, after a pause, and in calls
// without letters of other messages. A letter that SQS refuses for good goes once more in an envelope that SQS always takes. If
// that is refused as well, the message is left to the queue's redrive policy.
func (c *Consumer) deadLetter(d *delivery) {
	if !c.lettersFit(d) {
		return
	}
	before := d.commands
	c.held.shrink(d, len(d.bad)) // the written commands no longer need room
	if d.inLetterRoom = c.letterRoom.enter(d.commands, d.bytes); d.inLetterRoom {
		c.room.release(before, d.bytes)
	} else {
		c.room.release(before-d.commands, 0)
	}
	if !d.inLetterRoom && d.commands > c.letterRoom.maxCommands && c.mayNack(d) {
		c.nack(d) // otherwise this message alone would keep the worker from receiving for long
		return
	}
	c.sendRound(d)
}

// lettersFit reports whether SQS takes all of a message's letters. If not, it leaves the message.
func (c *Consumer) lettersFit(d *delivery) bool {
	// An envelope adds less than the length of the text, and the attributes about the reason less than 8 KiB.
	attributes := d.bytes - len(d.message.Body) + 8<<10
	for i := range d.bad {
		b := &d.bad[i]
		if attributes+2*len(b.text) <= c.cfg.LetterBytes {
			continue
		}
		if l, ok := newLetter(&d.message, c.cfg.QueueName, b, c.cfg.LetterBytes); !ok {
			c.log.Warn("dead letter exceeds SQS's limit; the message is left to the queue's redrive policy",
				"message_id", d.message.ID, "bytes", l.Size(), "limit", c.cfg.LetterBytes, "reason", b.why.Reason)
			c.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp).Inc()
			c.finish(d, left)
			return false
		}
	}
	return true
}

// mayNack reports whether a message may be nacked although part of it is written. On a FIFO queue it may not: the queue would
// deliver it again after later messages of its group that are written.
func (c *Consumer) mayNack(d *delivery) bool { return !c.cfg.FIFO || !d.Touched() }

// sendRound begins a message's next round of letters. If there are none, it deletes the message.
func (c *Consumer) sendRound(d *delivery) {
	letters, apart := d.letters.begin(d)
	switch {
	case len(letters) == 0:
		c.deletes.add(d)
	case d.givenUp.Load():
		c.nack(d)
	case apart == together:
		c.letters.add(letters...)
	default:
		size := 10
		if apart == oneByOne {
			size = 1
		}
		for len(letters) > 0 {
			n := min(size, len(letters))
			c.ownCalls.add(letters[:n:n])
			letters = letters[n:]
		}
	}
}

// sendLetters sends a batch of letters, in calls of at most LetterBytes.
func (c *Consumer) sendLetters(batch []Letter) {
	for len(batch) > 0 {
		n, bytes := 0, 0
		for n < len(batch) && (n == 0 || bytes+batch[n].Size() <= c.cfg.LetterBytes) {
			bytes += batch[n].Size()
			n++
		}
		c.sendCall(batch[:n])
		batch = batch[n:]
	}
}

// sendCall sends letters in one call. It goes on with the messages whose rounds are over.
func (c *Consumer) sendCall(batch []Letter) {
	rules, end := c.letterCalls.begin(c.rules)
	defer end()
	batch, withheldOnes := c.withhold(rules, batch)
	for _, l := range withheldOnes {
		c.countDropped(l.command)
		c.answerLetter(l, withheld, time.Now())
	}
	if len(batch) == 0 {
		return
	}
	failed, err := c.callBatch(len(batch), func(ctx context.Context) ([]Failure, error) {
		if rules.TooOld(time.Now()) {
			return nil, errRulesTooOld
		}
		return c.dlq.Send(ctx, batch)
	})
	c.answered.Add(1)
	if err != nil {
		c.log.Error("dead letters can't be sent", "letters", len(batch), "error", err)
	}
	if err != nil && !errors.Is(err, errRulesTooOld) {
		separate(batch)
	}
	now := time.Now()
	c.letterTrouble.saw(now, len(batch), failed, err)
	verdicts := make([]verdict, len(batch))
	for i := range batch {
		if f := failed.of(i); f != nil {
			verdicts[i] = c.judgeLetter(&batch[i], *f, err)
		}
	}
	for i, l := range batch {
		if verdicts[i] == accepted {
			c.countLetter(&l)
		}
		c.answerLetter(l, verdicts[i], now)
	}
}

// answerLetter records the verdict on a letter, and goes on with its message when the round is over.
func (c *Consumer) answerLetter(l Letter, v verdict, now time.Time) {
	if l.delivery.letters.answered(l, v) {
		c.afterRound(l.delivery, now)
	}
}

// separate keeps the letters of a call that failed apart from now on: one of them may be the cause.
func separate(batch []Letter) {
	to := oneByOne
	for i := range batch {
		if batch[i].delivery != batch[0].delivery {
			to = ownCalls
		}
	}
	for i := range batch {
		batch[i].delivery.letters.separate(to)
	}
}

// verdict is the result of sending a letter.
type verdict uint8

const (
	accepted  verdict = iota
	sendAgain         // as it is now
	unsendable
	withheld // its tenant is erased
)

// judgeLetter decides on a letter that was not accepted. It encloses one that SQS will never take as it is. call is the error of
// the whole call, if it had one.
func (c *Consumer) judgeLetter(l *Letter, f Failure, call error) verdict {
	id, index := l.delivery.message.ID, l.Attributes["source_index"]
	if call != nil || !f.Final {
		if call == nil {
			c.log.Warn("dead letter refused, and sent again", "message_id", id, "source_index", index, "code", f.Code)
		}
		c.metrics.LettersFailed.WithLabelValues(metrics.LetterRetried).Inc()
		return sendAgain
	}
	if !l.enclosed {
		c.log.Warn("dead letter refused for good, and sent in an envelope", "message_id", id, "source_index", index, "code", f.Code)
		if l.enclose(); l.Size() <= c.cfg.LetterBytes {
			c.metrics.LettersFailed.WithLabelValues(metrics.LetterRetried).Inc()
			return sendAgain
		}
	}
	c.log.Error("dead letter refused in every form; the message is left to the queue's redrive policy",
		"message_id", id, "source_index", index, "code", f.Code, "reason", l.Attributes["reason"])
	c.metrics.LettersFailed.WithLabelValues(metrics.LetterGivenUp).Inc()
	return unsendable
}

// countLetter tells the metrics of a letter that was sent. The tenant is the sender's, if it is known.
func (c *Consumer) countLetter(l *Letter) {
	c.deadLetters.Add(1)
	c.commands.Add(1)
	c.metrics.DeadLetters.WithLabelValues(l.Attributes["reason"]).Inc()
	c.outcomes[l.command.kind][writer.Refused].Inc()
	tenant := l.command.tenant
	if a := &l.delivery.message.Attributes; a.TenantID != "" {
		tenant = a.TenantID
	}
	if messages.CheckTenantID(tenant) != nil {
		tenant = metrics.OtherTenants // it can be any text
	} else if c.cfg.Meter != nil {
		c.cfg.Meter.Used(tenant, &tenants.Usage{DeadLettered: 1})
	}
	c.metrics.TenantCommands(tenant, writer.Refused.String(), 1)
}

// afterRound decides how a message goes on at now, when its round of letters is over. A message of which nothing was sent or
// written is nacked after some rounds. Any message is nacked while closing, and when it finds no place in the letter room.
func (c *Consumer) afterRound(d *delivery, now time.Time) {
	again, lost, sent, failed := d.letters.result()
	switch {
	case lost:
		c.finish(d, left)
	case !again:
		c.sendRound(d)
	case c.closing.Load() || d.givenUp.Load() || failed >= maxRounds && sent == 0 && !d.Touched():
		c.nack(d)
	case c.calls.Err() != nil || !now.Before(c.held.deadline(d)):
		// It could not be extended. The next receiver sends its letters.
		c.finish(d, left)
	case !d.inLetterRoom && !c.moveToLetterRoom(d) && c.mayNack(d):
		c.nack(d)
	case !c.retries.add(d, backoff(failed), c.sendRound):
		c.nack(d)
	}
}

// moveToLetterRoom moves a message from the room to the letter room, if it fits.
func (c *Consumer) moveToLetterRoom(d *delivery) bool {
	if d.inLetterRoom = c.letterRoom.enter(d.commands, d.bytes); d.inLetterRoom {
		c.room.release(d.commands, d.bytes)
	}
	return d.inLetterRoom
}
