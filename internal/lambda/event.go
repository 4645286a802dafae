package lambda

import (
	"crypto/fips140"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tributary/internal/base/rawjson"
	"tributary/internal/consumer"
)

// EventError says why an event is none that this function can work on. Lambda then treats the whole batch as failed.
type EventError struct{ Problem string }

func (e *EventError) Error() string {
	return "the event is not a batch of an SQS event source mapping: " + e.Problem
}

// entry is one record of an event.
type entry struct {
	consumer.Message
	queue   string // the name of its queue
	damaged error  // its body is not what its sender sent
}

// scanEvent reads an event as an SQS event source mapping makes it ("Using Lambda with Amazon SQS"). It refuses the whole event
// with an *EventError if a record lacks what it takes to report it. The entries share memory with text.
func scanEvent(text string) ([]entry, error) {
	s := rawjson.New(text)
	if s.Peek() != '{' {
		return nil, &EventError{"it is not a JSON object"}
	}
	var entries []entry
	listed := false
	for s.Open('{'); s.More('}'); {
		if s.Name() != "Records" {
			s.Skip()
			continue
		}
		if s.Peek() != '[' || listed {
			return nil, &EventError{"its Records are not one array"}
		}
		listed = true
		for s.Open('['); s.More(']'); {
			e, problem := scanRecord(&s)
			if s.Err() == nil && problem != "" {
				return nil, &EventError{fmt.Sprintf("record %d %s", len(entries), problem)}
			}
			entries = append(entries, e)
		}
	}
	if err := s.End(); err != nil {
		return nil, &EventError{err.Error()}
	}
	if !listed {
		return nil, &EventError{"it has no Records"}
	}
	return entries, nil
}

// scanRecord reads a record. problem says why it can't be worked on.
func scanRecord(s *rawjson.Scanner) (e entry, problem string) {
	if s.Peek() != '{' {
		s.Skip()
		return e, "is not an object"
	}
	sum, source, body := "", "", false
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "messageId":
			e.ID = textOf(s)
		case "receiptHandle":
			e.ReceiptHandle = textOf(s)
		case "body":
			body = s.Peek() == '"'
			e.Body = textOf(s)
		case "md5OfBody":
			sum = textOf(s)
		case "eventSource":
			source = textOf(s)
		case "eventSourceARN":
			arn := textOf(s)
			e.queue = arn[strings.LastIndexByte(arn, ':')+1:]
		case "attributes":
			scanSystemAttributes(s, &e.Message)
		case "messageAttributes":
			if !scanAttributes(s, &e.Message) {
				e.damaged = errors.New("its attributes are not an object")
			}
		default:
			s.Skip()
		}
	}
	switch {
	case source != "aws:sqs":
		return e, fmt.Sprintf("is of the source %.40q, not of aws:sqs", source)
	case e.ID == "":
		return e, "has no messageId"
	case e.ReceiptHandle == "":
		return e, "has no receiptHandle"
	case !body:
		e.damaged = errors.New("its body is not a string")
	case sum != "" && e.damaged == nil:
		if got := checksum(e.Body); got != sum {
			e.damaged = fmt.Errorf("its body has the MD5 sum %s, SQS gives %.40q", got, sum)
		}
	}
	return e, ""
}

func scanSystemAttributes(s *rawjson.Scanner, m *consumer.Message) {
	if s.Peek() != '{' {
		s.Skip()
		return
	}
	for s.Open('{'); s.More('}'); {
		switch s.Name() {
		case "ApproximateReceiveCount":
			m.ReceiveCount, _ = strconv.Atoi(textOf(s))
		case "SentTimestamp":
			m.SentAt = millis(textOf(s))
		case "ApproximateFirstReceiveTimestamp":
			m.FirstReceivedAt = millis(textOf(s))
		case "MessageGroupId":
			m.GroupID = textOf(s)
		case "AWSTraceHeader":
			m.TraceHeader = textOf(s)
		default:
			s.Skip()
		}
	}
}

// scanAttributes reads the message attributes. It returns false if they are not an object.
func scanAttributes(s *rawjson.Scanner, m *consumer.Message) bool {
	if s.Peek() != '{' {
		return s.Skip() == "null"
	}
	for s.Open('{'); s.More('}'); {
		a := consumer.Attribute{Name: s.Name()}
		if s.Peek() != '{' {
			s.Skip()
			m.AddAttribute(a)
			continue
		}
		for s.Open('{'); s.More('}'); {
			switch s.Name() {
			case "stringValue":
				a.Text = textOf(s)
			case "binaryValue":
				a.Binary, _ = base64.StdEncoding.DecodeString(textOf(s)) // Lambda encoded it
			case "dataType":
				a.Type = textOf(s)
			default:
				s.Skip()
			}
		}
		m.AddAttribute(a)
	}
	return true
}

// textOf reads a string. It skips any other value and returns "".
func textOf(s *rawjson.Scanner) string {
	if s.Peek() != '"' {
		s.Skip()
		return ""
	}
	return s.String()
}

// millis reads milliseconds since 1970, or returns the zero time.
func millis(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// checksum is the sum that SQS computes of a body. It finds damage and guards no secret, so FIPS 140 does not apply to it.
func checksum(body string) string {
	var sum [md5.Size]byte
	compute := func() { sum = md5.Sum([]byte(body)) }
	if fips140.Enforced() {
		fips140.WithoutEnforcement(compute)
	} else {
		compute()
	}
	return hex.EncodeToString(sum[:])
}
