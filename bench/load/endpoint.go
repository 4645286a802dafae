package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	tableName = "MultiTenantTable"
	tenants   = 100
	keyPrefix = "order#load-" // of a sort key; the number of the command follows
	// handleBytes makes a receipt handle as long as SQS's are.
	handleBytes = 368
)

// load is what the queue holds and when.
type load struct {
	messages int
	pack     int // commands a message
	rate     int // messages that arrive a second; 0: all are there at the beginning
}

// endpoint answers for one SQS queue and one DynamoDB table from memory, after the latency of a call to AWS within a
// region: half of it before a call takes effect, half after. Every message holds commands of its own, which the sort
// keys of the writes name, so it knows what is durable and what a delete may take off the queue. It reads requests by
// looking for the few strings that matter, as both the worker and the SDK write them.
type endpoint struct {
	load
	sqsLatency, dynamodbLatency time.Duration
	bodies                      []string // of the messages, as JSON, with their MD5 sums
	queue                       chan int // messages that are visible; has room for all
	over                        chan struct{}
	finished                    chan struct{} // closed when the last message is deleted
	url                         string
	server                      fasthttp.Server

	mu       sync.Mutex
	begun    time.Time    // the first receive that took something; guarded by mu
	ended    time.Time    // the last delete; guarded by mu
	arrived  []time.Time  // by message; guarded by mu
	durable  []time.Time  // by command; guarded by mu
	deleted  []bool       // by message; guarded by mu
	deletes  int          // messages; guarded by mu
	early    int          // messages deleted before all of their commands were durable; guarded by mu
	wrong    int          // batches that DynamoDB would refuse; guarded by mu
	written  int          // items of BatchWriteItem; guarded by mu
	receives atomic.Int64 // calls, and so on
	removals atomic.Int64
	batches  atomic.Int64
	others   atomic.Int64
}

func newEndpoint(l load, sqsLatency, dynamodbLatency time.Duration) *endpoint {
	e := &endpoint{
		load: l, sqsLatency: sqsLatency, dynamodbLatency: dynamodbLatency,
		bodies: make([]string, l.messages), queue: make(chan int, l.messages), over: make(chan struct{}), finished: make(chan struct{}),
		arrived: make([]time.Time, l.messages), durable: make([]time.Time, l.messages*l.pack), deleted: make([]bool, l.messages),
	}
	for i := range e.bodies {
		var b strings.Builder
		for k := range l.pack {
			n := i*l.pack + k
			fmt.Fprintf(&b, `{"type":"put_order","tenant_id":"tenant-%04d","order_id":"%s%d","user_id":"0192f0a1-7c3e-7111-8111-%012d","order_amount":"%d.99"},`,
				n%tenants, strings.TrimPrefix(keyPrefix, "order#"), n, n%5000, n%1000)
		}
		body := strings.TrimSuffix(b.String(), ",")
		if l.pack > 1 {
			body = "[" + body + "]"
		}
		sum := md5.Sum([]byte(body))
		e.bodies[i] = strconv.Quote(body) + `,"MD5OfBody":"` + hex.EncodeToString(sum[:]) + `"`
	}
	return e
}

// start serves on a port of its own.
func (e *endpoint) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	e.url = "http://" + l.Addr().String()
	e.server = fasthttp.Server{Handler: e.handle, MaxRequestBodySize: 32 << 20, NoDefaultServerHeader: true, NoDefaultDate: true}
	go func() { _ = e.server.Serve(l) }()
	return nil
}

// arrive makes the messages visible, at their rate.
func (e *endpoint) arrive() {
	start := time.Now()
	for i := range e.messages {
		at := start
		if e.rate > 0 {
			at = start.Add(time.Duration(i) * time.Second / time.Duration(e.rate))
			time.Sleep(time.Until(at))
			at = time.Now()
		}
		e.mu.Lock()
		e.arrived[i] = at
		e.mu.Unlock()
		e.queue <- i
	}
}

// release ends the long polls under way and all that follow, so that a worker that was told to stop can.
func (e *endpoint) release() { close(e.over) }

func (e *endpoint) handle(ctx *fasthttp.RequestCtx) {
	body := ctx.PostBody()
	ctx.SetContentType("application/x-amz-json-1.0")
	_, operation, _ := strings.Cut(string(ctx.Request.Header.Peek("X-Amz-Target")), ".")
	var answer []byte
	latency := e.sqsLatency
	pause := func() { time.Sleep(latency / 2) }
	switch operation {
	case "ReceiveMessage":
		e.receives.Add(1)
		pause()
		answer = e.receive(body)
	case "DeleteMessageBatch":
		e.removals.Add(1)
		pause()
		answer = e.remove(body)
	case "BatchWriteItem":
		e.batches.Add(1)
		latency = e.dynamodbLatency
		pause()
		answer = e.write(body)
	case "ChangeMessageVisibilityBatch": // extends, or hands back: no scenario gives cause for it
		e.others.Add(1)
		pause()
		answer = all(body)
	case "GetQueueAttributes":
		answer = []byte(`{"Attributes":{"VisibilityTimeout":"60","ApproximateNumberOfMessages":"0","RedrivePolicy":"{\"maxReceiveCount\":100}"}}`)
	case "DescribeTable":
		answer = []byte(`{"Table":{"TableName":"` + tableName + `","TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"PK","KeyType":"HASH"},{"AttributeName":"SK","KeyType":"RANGE"}]}}`)
	default:
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		answer = []byte(`{"__type":"UnknownOperationException","message":"the load endpoint does not know ` + operation + `"}`)
	}
	ctx.Response.SetBodyRaw(answer)
	pause()
}

// receive answers with up to ten messages. It waits for the first as long as it is asked to.
func (e *endpoint) receive(body []byte) []byte {
	b := []byte(`{"Messages":[`)
	add := func(i int) {
		e.mu.Lock()
		at := e.arrived[i].UnixMilli()
		if e.begun.IsZero() {
			e.begun = time.Now()
		}
		e.mu.Unlock()
		b = fmt.Appendf(b, `{"MessageId":"00000000-0000-4000-8000-%012d","ReceiptHandle":"%0*d","Attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"%d","ApproximateFirstReceiveTimestamp":"%d"},"Body":`,
			i, handleBytes, i, at, time.Now().UnixMilli())
		b = append(b, e.bodies[i]...)
		b = append(b, `},`...)
	}
	wait := time.NewTimer(time.Duration(number(body, `"WaitTimeSeconds":`)) * time.Second)
	defer wait.Stop()
	select {
	case i := <-e.queue:
		add(i)
	default:
		select {
		case i := <-e.queue:
			add(i)
		case <-wait.C:
			return []byte(`{}`)
		case <-e.over:
			return []byte(`{}`)
		}
	}
	for range number(body, `"MaxNumberOfMessages":`) - 1 {
		select {
		case i := <-e.queue:
			add(i)
			continue
		default:
		}
		break
	}
	return append(bytes.TrimSuffix(b, []byte(",")), "]}"...)
}

// remove deletes messages, and notes which of them were not durable.
func (e *endpoint) remove(body []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := []byte(`{"Failed":[],"Successful":[`)
	entry := 0
	for i := range numbers(body, `"ReceiptHandle":"`) {
		for _, at := range e.durable[i*e.pack : (i+1)*e.pack] {
			if at.IsZero() {
				e.early++
				break
			}
		}
		if !e.deleted[i] {
			e.deleted[i] = true
			if e.deletes++; e.deletes == e.messages {
				e.ended = time.Now()
				close(e.finished)
			}
		}
		b = fmt.Appendf(b, `{"Id":"%d"},`, entry) // both clients number their entries
		entry++
	}
	return append(bytes.TrimSuffix(b, []byte(",")), "]}"...)
}

// all answers that every entry of a batch call succeeded.
func all(body []byte) []byte {
	b := []byte(`{"Failed":[],"Successful":[`)
	for entry := range bytes.Count(body, []byte(`"ReceiptHandle":`)) {
		b = fmt.Appendf(b, `{"Id":"%d"},`, entry) // both clients number their entries
	}
	return append(bytes.TrimSuffix(b, []byte(",")), "]}"...)
}

// write makes items durable.
func (e *endpoint) write(body []byte) []byte {
	seen := make(map[int]bool, 25)
	now := time.Now()
	e.mu.Lock()
	for n := range numbers(body, `"SK":{"S":"`+keyPrefix) {
		if seen[n] || len(seen) == 25 {
			e.wrong++
		}
		seen[n] = true
		if e.durable[n].IsZero() {
			e.durable[n] = now
		}
	}
	e.written += len(seen)
	e.mu.Unlock()
	switch {
	case bytes.Contains(body, []byte(`"ReturnConsumedCapacity":"INDEXES"`)):
		return fmt.Appendf(nil, `{"ConsumedCapacity":[{"CapacityUnits":%d.0,"GlobalSecondaryIndexes":{"orders_by_user":{"CapacityUnits":%d.0}},`+
			`"Table":{"CapacityUnits":%d.0},"TableName":"`+tableName+`"}],"UnprocessedItems":{}}`, 2*len(seen), len(seen), len(seen))
	case !bytes.Contains(body, []byte(`"ReturnConsumedCapacity":"TOTAL"`)):
		return []byte(`{"UnprocessedItems":{}}`)
	}
	return fmt.Appendf(nil, `{"ConsumedCapacity":[{"CapacityUnits":%d.0,"TableName":"`+tableName+`"}],"UnprocessedItems":{}}`, len(seen))
}

// numbers yields the number behind every occurrence of a string.
func numbers(b []byte, before string) func(func(int) bool) {
	return func(yield func(int) bool) {
		for {
			i := bytes.Index(b, []byte(before))
			if i < 0 {
				return
			}
			b = b[i+len(before):]
			n := 0
			for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
				n, b = n*10+int(b[0]-'0'), b[1:]
			}
			if !yield(n) {
				return
			}
		}
	}
}

func number(b []byte, before string) int {
	for n := range numbers(b, before) {
		return n
	}
	return 0
}

// figures are what the endpoint saw.
type figures struct {
	seconds          float64
	commands         int
	messages         int
	early, wrong     int
	fill             float64 // items of a BatchWriteItem
	callsPerThousand float64 // calls of a thousand messages
	p50, p99         time.Duration
}

func (e *endpoint) figures() figures {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := figures{seconds: e.ended.Sub(e.begun).Seconds(), commands: len(e.durable), messages: e.messages, early: e.early, wrong: e.wrong}
	f.fill = float64(e.written) / float64(max(1, e.batches.Load()))
	calls := e.receives.Load() + e.removals.Load() + e.batches.Load() + e.others.Load()
	f.callsPerThousand = 1000 * float64(calls) / float64(max(1, e.messages))
	if e.rate > 0 {
		took := make([]time.Duration, len(e.durable))
		for i, at := range e.durable {
			took[i] = at.Sub(e.arrived[i/e.pack])
		}
		slices.Sort(took)
		f.p50, f.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return f
}
