package queue

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/uuid"
)

// task moves a dead-letter queue's messages. The server's mutex guards it.
type task struct {
	id          string
	source      string // ARNs
	destination string // empty: each message goes back to where it came from
	rate        int32  // messages a second, 0: as fast as it goes
	status      string
	reason      string
	moved       int64
	toMove      int64
	started     time.Time
}

func (t *task) handle() string {
	b, _ := json.Marshal(map[string]string{"taskId": t.id, "sourceArn": t.source}) //nolint:errchkjson // strings
	return base64.StdEncoding.EncodeToString(b)
}

func errNoResource(parameter string) *apiError {
	e := fail("ResourceNotFoundException", "ResourceNotFoundException", "The resource that you specified for the %s parameter doesn't exist.", parameter)
	e.status = http.StatusNotFound
	return e
}

func (s *Server) startMessageMoveTask(_ *call, in *sqs.StartMessageMoveTaskInput) (any, error) {
	if text(in.SourceArn) == "" {
		return nil, errMissing("SourceArn")
	}
	if n := in.MaxNumberOfMessagesPerSecond; n != nil && (*n < 1 || *n > 500) {
		return nil, errValue("MaxNumberOfMessagesPerSecond", *n, "Must be between 1 and 500.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.byARN(*in.SourceArn)
	if source == nil {
		return nil, errNoResource("SourceArn")
	}
	if len(s.sources(source.arn)) == 0 {
		return nil, errParameter("Source queue must be configured as a Dead Letter Queue.")
	}
	t := &task{id: uuid.NewString(), source: source.arn, destination: text(in.DestinationArn), status: "RUNNING", started: time.Now()}
	if t.destination != "" {
		target := s.byARN(t.destination)
		if target == nil {
			return nil, errNoResource("DestinationArn")
		}
		if target.fifo != source.fifo {
			return nil, errParameter("The destination queue must be of the same type as the source queue.")
		}
	}
	for _, other := range s.tasks {
		if other.source == t.source && (other.status == "RUNNING" || other.status == "CANCELLING") {
			return nil, errUnsupported("There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
		}
	}
	if in.MaxNumberOfMessagesPerSecond != nil {
		t.rate = *in.MaxNumberOfMessagesPerSecond
	}
	source.advance(t.started)
	shown, _, _ := source.counts()
	t.toMove = int64(shown)
	s.tasks = append(s.tasks, t)
	s.work.Go(func() { s.run(t) })
	return struct{ TaskHandle string }{t.handle()}, nil
}

// run moves one message at a time until none is left, the task is cancelled or the server closes.
func (s *Server) run(t *task) {
	var pause time.Duration
	if t.rate > 0 {
		pause = time.Second / time.Duration(t.rate)
	}
	for s.step(t) {
		if pause == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

// step moves one message and says whether to go on.
func (s *Server) step(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if t.status == "CANCELLING" || s.ctx.Err() != nil {
		t.status = "CANCELLED"
		return false
	}
	source := s.byARN(t.source)
	if source == nil {
		t.status, t.reason = "FAILED", "AWS.SimpleQueueService.NonExistentQueue"
		return false
	}
	source.advance(now)
	m := source.peek()
	for ; m != nil && source.expired(m, now); m = source.peek() { // a sweep would look at all for each one moved
		source.remove(m)
	}
	if m == nil || t.moved >= t.toMove {
		t.status = "COMPLETED"
		return false
	}
	to := t.destination
	if to == "" {
		to = m.source
	}
	target := s.byARN(to)
	if target == nil {
		t.status, t.reason = "FAILED", "CouldNotDetermineMessageSource"
		return false
	}
	source.remove(m)
	// A moved message counts as a new one ("StartMessageMoveTask"): id, time and receive count begin anew.
	fresh := &message{body: m.body, bodyMD5: m.bodyMD5, attributes: m.attributes, trace: m.trace, group: m.group, dedup: m.dedup, position: -1}
	fresh.id, fresh.sent = uuid.NewString(), now
	if target.fifo {
		fresh.sequence = s.sequence()
	}
	target.add(fresh, now, now)
	t.moved++
	return true
}

// peek is the next message that a receive would hand out, nil where there is none.
func (q *queue) peek() *message {
	front := q.ready.Front()
	if front == nil {
		return nil
	}
	if q.fifo {
		return front.Value.(*group).messages.Front().Value.(*message)
	}
	return front.Value.(*message)
}

func (s *Server) cancelMessageMoveTask(_ *call, in *sqs.CancelMessageMoveTaskInput) (any, error) {
	if text(in.TaskHandle) == "" {
		return nil, errMissing("TaskHandle")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.handle() != *in.TaskHandle {
			continue
		}
		if t.status != "RUNNING" {
			return nil, errUnsupported("Only active tasks can be cancelled.")
		}
		t.status = "CANCELLING"
		return struct{ ApproximateNumberOfMessagesMoved int64 }{t.moved}, nil
	}
	return nil, errNoResource("TaskHandle")
}

func (s *Server) listMessageMoveTasks(_ *call, in *sqs.ListMessageMoveTasksInput) (any, error) {
	type entry struct {
		TaskHandle                        string `json:",omitempty"`
		Status                            string
		SourceArn                         string
		DestinationArn                    string `json:",omitempty"`
		MaxNumberOfMessagesPerSecond      int32  `json:",omitempty"`
		ApproximateNumberOfMessagesMoved  int64
		ApproximateNumberOfMessagesToMove int64
		FailureReason                     string `json:",omitempty"`
		StartedTimestamp                  int64
	}
	if text(in.SourceArn) == "" {
		return nil, errMissing("SourceArn")
	}
	most := int32(1)
	if in.MaxResults != nil {
		most = *in.MaxResults
	}
	if most < 1 || most > 10 {
		return nil, errValue("MaxResults", most, "Must be between 1 and 10.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byARN(*in.SourceArn) == nil {
		return nil, errNoResource("SourceArn")
	}
	out := struct{ Results []entry }{Results: []entry{}}
	for _, t := range slices.Backward(s.tasks) {
		if t.source != *in.SourceArn || len(out.Results) == int(most) {
			continue
		}
		e := entry{
			Status: t.status, SourceArn: t.source, DestinationArn: t.destination, MaxNumberOfMessagesPerSecond: t.rate,
			ApproximateNumberOfMessagesMoved: t.moved, ApproximateNumberOfMessagesToMove: t.toMove,
			FailureReason: t.reason, StartedTimestamp: t.started.UnixMilli(),
		}
		if t.status == "RUNNING" {
			e.TaskHandle = t.handle()
		}
		out.Results = append(out.Results, e)
	}
	return out, nil
}
