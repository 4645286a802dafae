package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// TestMoveTaskIsLinear moves 100,000 messages. What looks at all that stay for each one that moves looks 5,000 million
// times, and takes several times the bound; what doesn't takes less than a tenth of it.
func TestMoveTaskIsLinear(t *testing.T) {
	const messages, bound = 100_000, 20 * time.Second
	for _, suffix := range []string{"", ".fifo"} {
		s := NewServer(Options{})
		fill := func(name string) *queue {
			attributes := map[string]string{}
			if suffix != "" {
				attributes["FifoQueue"] = "true"
			}
			if _, err := s.createQueue(&call{}, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes}); err != nil {
				t.Fatal(err)
			}
			return s.queues[name]
		}
		source, target := fill("dead"+suffix), fill("q"+suffix)
		now := time.Now()
		source.post(&message{body: "too old", group: "0", dedup: "old", position: -1}, 0, now.Add(-source.settings.retention))
		for i := range messages {
			source.post(&message{body: "a", group: fmt.Sprint(i % 100), dedup: fmt.Sprint(i), position: -1}, 0, now)
		}
		task := &task{source: source.arn, destination: target.arn, status: "RUNNING", toMove: messages}
		start := time.Now()
		for s.step(task) {
			if time.Since(start) > bound {
				t.Fatalf("moved %d of %d messages of %s in %v", task.moved, messages, source.name, bound)
			}
		}
		if len(source.messages) != 0 || len(target.messages) != messages || task.status != "COMPLETED" {
			t.Errorf("%s has %d messages left, %s has %d; the task is %s", source.name, len(source.messages), target.name, len(target.messages), task.status)
		}
		s.Close()
	}
}
