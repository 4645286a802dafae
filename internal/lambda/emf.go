package lambda

import (
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tributary/internal/operate/metrics"
)

// Output is where metrics go: a line for each invocation.
type Output = io.Writer

// Counts are what the engine has counted since it began.
type Counts struct {
	Commands    map[string]float64 // by outcome, as tributary_commands_total has them
	Unprocessed float64
	WriteUnits  float64
}

// CountsOf reads the engine's metrics.
func CountsOf(m *metrics.Metrics) Counts {
	c := Counts{Commands: map[string]float64{}, Unprocessed: valueOf(m.Unprocessed), WriteUnits: valueOf(m.ConsumedUnits)}
	series := make(chan prometheus.Metric)
	go func() {
		m.Commands.Collect(series)
		close(series)
	}()
	for one := range series {
		var d dto.Metric
		if one.Write(&d) != nil { // a counter can always be written
			continue
		}
		for _, label := range d.GetLabel() {
			if label.GetName() == "outcome" {
				c.Commands[label.GetValue()] += d.GetCounter().GetValue()
			}
		}
	}
	return c
}

func valueOf(c prometheus.Counter) float64 {
	var d dto.Metric
	if c.Write(&d) != nil {
		return 0
	}
	return d.GetCounter().GetValue()
}

// emitter writes lines in CloudWatch's embedded metric format. What several invocations of one environment count together is in
// the line of the one that ends first, so that the sum over all lines is exact.
type emitter struct {
	out      io.Writer
	function string

	mu     sync.Mutex
	before Counts // as of the last line; guarded by mu
	warm   bool   // there was a line; guarded by mu
}

func newEmitter(out io.Writer) *emitter {
	name := os.Getenv("AWS_LAMBDA_FUNCTION_NAME")
	if name == "" {
		name = "unknown"
	}
	return &emitter{out: out, function: name}
}

// metric is a value with its unit ("Specification: Embedded metric format").
type metric struct {
	Name  string
	Unit  string
	value float64
}

// line writes the metrics of an invocation.
func (e *emitter) line(request string, began time.Time, records []*record, failed []bool, counts func() Counts) {
	now := time.Now()
	reported, oldest := 0, now
	for i, r := range records {
		if failed[i] {
			reported++
		}
		if at := r.message.SentAt; !at.IsZero() && at.Before(oldest) {
			oldest = at
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := counts()
	since := func(outcome string) float64 { return c.Commands[outcome] - e.before.Commands[outcome] }
	all := []metric{
		{"Messages", "Count", float64(len(records))},
		{"MessagesReported", "Count", float64(reported)},
		{"CommandsWritten", "Count", since("written")},
		{"CommandsSuperseded", "Count", since("superseded")},
		{"CommandsStale", "Count", since("stale")},
		{"CommandsHandedBack", "Count", since("handed_back")},
		{"DeadLetters", "Count", since("dead_lettered")},
		{"UnprocessedItems", "Count", c.Unprocessed - e.before.Unprocessed},
		{"WriteUnits", "Count", c.WriteUnits - e.before.WriteUnits},
		{"OldestMessageAge", "Milliseconds", float64(now.Sub(oldest).Milliseconds())},
		{"Duration", "Milliseconds", float64(now.Sub(began).Microseconds()) / 1000},
	}
	if !e.warm {
		all = append(all, metric{"ColdStart", "Count", 1})
	}
	e.before, e.warm = c, true
	values := map[string]any{
		"_aws": map[string]any{
			"Timestamp": now.UnixMilli(),
			"CloudWatchMetrics": []any{map[string]any{
				"Namespace": "Tributary", "Dimensions": [][]string{{"FunctionName"}}, "Metrics": all,
			}},
		},
		"FunctionName": e.function, "request_id": request,
	}
	for _, m := range all {
		values[m.Name] = m.value
	}
	line, err := json.Marshal(values)
	if err != nil { // every value is a number or text
		return
	}
	_, _ = e.out.Write(append(line, '\n')) // there is nobody to tell
}
