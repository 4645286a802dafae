package consumer

// What the tests of package consumer_test have to know.
const (
	LetterLinger     = letterLinger
	MaxQueueInFlight = maxQueueInFlight
)
