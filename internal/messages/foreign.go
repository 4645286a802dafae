package messages

import (
	"encoding/base64"
	"strings"

	"tributary/internal/base/rawjson"
)

// What AWS itself puts on queues, and what clients put there in place of a body, is named in the letter, so that the
// reader need not find out what it is.

func notACommand(detail string) *Error { return &Error{ReasonNotACommand, "", detail} }

// notCommands says what an object is that is neither a command nor a wrapping of commands, or returns nil where it is
// nothing that is known.
func (w *wrapping) notCommands() *Error {
	switch {
	case w.snsType == "SubscriptionConfirmation" && w.subscribeURL != "":
		return notACommand("an SNS subscription waits to be confirmed: open its SubscribeURL within three days, " + visitable(w.subscribeURL))
	case w.snsType == "UnsubscribeConfirmation" && w.subscribeURL != "":
		return notACommand("SNS says that the queue's subscription has ended: to renew it open its SubscribeURL within three days, " + visitable(w.subscribeURL))
	case w.event == "s3:TestEvent":
		return notACommand("it is s3:TestEvent, which S3 sends when its notifications are set up: delete the letter, and send S3's notifications to another queue")
	case firstRecordOf(w.records) == "aws:s3":
		return notACommand("it is an S3 event notification: send S3's notifications to another queue")
	}
	return nil
}

// visitable returns a URL if it is AWS's. Anybody who may send to the queue can put any URL there.
func visitable(url string) string {
	rest, secure := strings.CutPrefix(url, "https://sns.")
	host, _, _ := strings.Cut(rest, "/")
	if !secure || len(url) > maxURLBytes || strings.ContainsAny(host, "@?#\\") ||
		!strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") ||
		strings.ContainsFunc(url, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "which is in the body and is not one of AWS's: check it first"
	}
	return url
}

// maxURLBytes is more than a SubscribeURL takes with the longest name of a topic, and fits a letter's detail.
const maxURLBytes = 800

// firstRecordOf returns the eventSource of the first of an array of records, or "".
func firstRecordOf(text string) (source string) {
	s := rawjson.New(text)
	if s.Peek() != '[' {
		return ""
	}
	s.Open('[')
	if !s.More(']') || s.Peek() != '{' {
		return ""
	}
	for s.Open('{'); s.More('}'); {
		if s.Name() == "eventSource" && s.Peek() == '"' {
			return s.String()
		}
		s.Skip()
	}
	return ""
}

// offloaded says that a text that starts an array is a pointer of the SQS Extended Client, ["class",{"s3BucketName":…,"s3Key":…}],
// or returns nil. The payload is in S3, and the worker does not read it.
func offloaded(text string) *Error {
	s := rawjson.New(text)
	s.Open('[')
	if !s.More(']') || s.Peek() != '"' {
		return nil
	}
	class := s.String()
	if !strings.HasPrefix(class, "software.amazon.payloadoffloading.") && !strings.HasPrefix(class, "com.amazon.sqs.javamessaging.") {
		return nil
	}
	bucket, key := "", ""
	if s.More(']') && s.Peek() == '{' {
		for s.Open('{'); s.More('}'); {
			name := s.Name()
			switch {
			case name == "s3BucketName" && s.Peek() == '"':
				bucket = s.String()
			case name == "s3Key" && s.Peek() == '"':
				key = s.String()
			default:
				s.Skip()
			}
		}
	}
	return notACommand("its payload is in S3 (bucket " + quote(bucket) + ", key " + quote(key) +
		"): it is a pointer of the SQS Extended Client, which the worker does not follow; send the payload itself, at most 1 MiB")
}

// isBase64JSON says whether text starts as base64 of a JSON object or array does.
func isBase64JSON(text string) bool {
	text = strings.Trim(text, "\" \t\r\n")
	text = text[:min(len(text), 64)]
	text = strings.TrimRight(text, "=")
	text = text[:len(text)/4*4]
	raw, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(text))
	if err != nil || len(raw) < 3 {
		return false
	}
	inner := strings.TrimLeft(strings.TrimPrefix(string(raw), byteOrderMark), " \t\r\n")
	return strings.HasPrefix(inner, `{"`) || strings.HasPrefix(inner, "[{")
}
