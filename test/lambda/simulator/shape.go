package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Record is one message of an event, with the names that Lambda gives them ("Using Lambda with Amazon SQS").
type Record struct {
	MessageID         string               `json:"messageId"`
	ReceiptHandle     string               `json:"receiptHandle"`
	Body              string               `json:"body"`
	Attributes        map[string]string    `json:"attributes"`
	MessageAttributes map[string]Attribute `json:"messageAttributes"`
	MD5OfBody         string               `json:"md5OfBody"`
	EventSource       string               `json:"eventSource"`
	EventSourceARN    string               `json:"eventSourceARN"`
	AWSRegion         string               `json:"awsRegion"`
}

// Attribute is a message attribute of a Record.
type Attribute struct {
	StringValue      *string  `json:"stringValue,omitempty"`
	BinaryValue      []byte   `json:"binaryValue,omitempty"`
	StringListValues []string `json:"stringListValues"`
	BinaryListValues [][]byte `json:"binaryListValues"`
	DataType         string   `json:"dataType"`
}

// Group is the record's message group; "" on a standard queue without fair queues.
func (r *Record) Group() string { return r.Attributes["MessageGroupId"] }

// Failures reads an answer strictly: an object with batchItemFailures alone, a list of objects with itemIdentifier alone, each of
// which names a record, none twice ("Implementing partial batch responses"). Lambda treats a batch as failed as a whole for any
// other answer, but for some that it takes for a complete success: nothing, null, an empty object or list. Those are errors
// here, because a function that answers so by mistake loses messages.
func Failures(answer []byte, records []Record) (map[string]bool, error) {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.DisallowUnknownFields()
	var shape *struct {
		Failures *[]*struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := d.Decode(&shape); err != nil {
		return nil, fmt.Errorf("the answer can't be read: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the answer goes on after its end")
	}
	if shape == nil || shape.Failures == nil {
		return nil, errors.New("the answer has no list batchItemFailures: Lambda would take it for a complete success")
	}
	sent := map[string]bool{}
	for i := range records {
		sent[records[i].MessageID] = true
	}
	failed := map[string]bool{}
	for i, f := range *shape.Failures {
		switch {
		case f == nil || f.ID == nil || *f.ID == "":
			return nil, fmt.Errorf("failure %d has no itemIdentifier", i)
		case !sent[*f.ID]:
			return nil, fmt.Errorf("failure %d, %q, was not in the batch", i, *f.ID)
		case failed[*f.ID]:
			return nil, fmt.Errorf("failure %d, %q, is there twice", i, *f.ID)
		}
		failed[*f.ID] = true
	}
	return failed, nil
}

// InOrder checks the rule of FIFO queues: everything of a group that follows a failure is reported as well.
func InOrder(records []Record, failed map[string]bool) error {
	behind := map[string]string{}
	for i := range records {
		r := &records[i]
		first, broken := behind[r.Group()]
		switch {
		case failed[r.MessageID] && !broken:
			behind[r.Group()] = r.MessageID
		case !failed[r.MessageID] && broken:
			return fmt.Errorf("message %s of group %s is not reported, and %s before it is", r.MessageID, r.Group(), first)
		}
	}
	return nil
}
