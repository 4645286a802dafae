package writer

import (
	"time"

	"tributary/internal/table"
)

// line is where the writes to one key queue up. At most one of them flies; the others wait in the order in
// which they were received.
//
// Overtaking: of two writes of one kind that follow each other only the superior is made: of versioned ones that with
// the higher version, of others that which was received later, whichever was submitted first. The other stays attached
// to it (over), is settled when the superior is durable, and takes its place when the superior fails for good. A versioned
// write never overtakes an unversioned one, nor the reverse.
type line struct {
	key    table.Key
	tenant *tenant
	flying *Write
	first  *Write // of those that wait
	last   *Write
	queue  *queue // the tenant's queue that it stands in, or nil
	prev   *line  // its neighbours there
	next   *line

	landed    int64  // the rank of the last unversioned write that became durable, 0: none
	retired   uint64 // when it last became empty, by scheduler.retired
	resting   bool   // nothing of it flies before notBefore
	notBefore time.Time
}

func (l *line) empty() bool { return l.first == nil && l.flying == nil }

// add puts a write that has just been received into the line.
func (l *line) add(w *Write) {
	w.line = l
	tail := l.last
	if tail == nil {
		tail = l.flying
	}
	switch {
	case tail == nil || tail.Versioned() != w.Versioned():
		l.append(w)
	case tail.beats(w):
		attach(tail, w)
	case tail == l.flying:
		l.append(w)
	default:
		l.replace(tail, w)
		w.over, tail.by = tail, w
	}
}

// putBack puts a write that has flown, or that had been overtaken by one that failed for good, before all that wait.
func (l *line) putBack(w *Write) {
	head := l.first
	switch {
	case head == nil || head.Versioned() != w.Versioned():
		w.before, w.behind = nil, head
		if head == nil {
			l.last = w
		} else {
			head.before = w
		}
		l.first = w
	case w.beats(head):
		l.replace(head, w)
		attach(w, head)
	default:
		attach(head, w)
	}
}

func (l *line) append(w *Write) {
	w.before, w.behind = l.last, nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.behind = w
	}
	l.last = w
}

// replace puts w where old waits.
func (l *line) replace(old, w *Write) {
	w.before, w.behind = old.before, old.behind
	if w.before == nil {
		l.first = w
	} else {
		w.before.behind = w
	}
	if w.behind == nil {
		l.last = w
	} else {
		w.behind.before = w
	}
	old.before, old.behind = nil, nil
}

// unlink takes a write that waits out of the line.
func (l *line) unlink(w *Write) {
	if w.before == nil {
		l.first = w.behind
	} else {
		w.before.behind = w.behind
	}
	if w.behind == nil {
		l.last = w.before
	} else {
		w.behind.before = w.before
	}
	w.before, w.behind = nil, nil
}

// beats says that of two writes of one kind w is to stand in the end. Of equal versions the first stays.
func (w *Write) beats(other *Write) bool {
	if w.rank != other.rank {
		return w.rank > other.rank
	}
	return w.submitted > other.submitted != w.Versioned()
}

// attach hangs w, and all that it had overtaken, below superior, in falling order.
func attach(superior, w *Write) {
	for w != nil {
		rest := w.over
		at := superior
		for at.over != nil && at.over.beats(w) {
			at = at.over
		}
		w.over = at.over
		if w.over != nil {
			w.over.by = w
		}
		at.over, w.by = w, at
		w = rest
	}
}

// detach takes a write that was overtaken out of its superior's train.
func detach(w *Write) {
	w.by.over = w.over
	if w.over != nil {
		w.over.by = w.by
	}
	w.over, w.by = nil, nil
}

// withdraw takes a write that waits, or that was overtaken, out of the line. What a waiting one had overtaken
// takes its place.
func (l *line) withdraw(w *Write) {
	if w.by != nil {
		detach(w)
		return
	}
	heir := w.over
	if heir == nil {
		l.unlink(w)
		return
	}
	w.over, heir.by = nil, nil
	l.replace(w, heir)
}
