package integration

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"tributary/localstack/stack"
	"tributary/test/support/otlpstub"
)

// One trace leads from the producer to the message's processing, and the batch write that carried it links to it.
func TestOneTraceFromProducerToTable(t *testing.T) {
	t.Parallel()
	s := stack.New(stack.Options{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	w := newWorld(t, backend{server.URL, server.URL})
	collector := otlpstub.Start(t)
	w.env = append(w.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	p := w.start()
	w.must("producer", "put-order", "--tenant", "acme", "--id", "o-1", "--user-id", "u", "--order-amount", "1")
	w.drained()
	p.stop()

	created, processed, wrote := collector.Spans("create "+w.queue), collector.Spans("process "+w.queue), collector.Spans("BatchWriteItem "+w.table)
	if len(created) != 1 || len(processed) != 1 || len(wrote) != 1 {
		t.Fatalf("%d spans of creating, %d of processing, %d of writing, want one each", len(created), len(processed), len(wrote))
	}
	c, m, b := created[0], processed[0], wrote[0]
	if c.Service != "tributary-producer" || m.Service != "tributary-worker" {
		t.Errorf("services %s and %s", c.Service, m.Service)
	}
	if !bytes.Equal(c.GetTraceId(), m.GetTraceId()) || !bytes.Equal(m.GetParentSpanId(), c.GetSpanId()) {
		t.Error("the processing is not in the producer's trace, below its span")
	}
	if got := m.Attributes()["tributary.outcome"]; got != "deleted" {
		t.Errorf("the message's outcome is %v", got)
	}
	if links := b.GetLinks(); len(links) != 1 || !bytes.Equal(links[0].GetSpanId(), m.GetSpanId()) {
		t.Errorf("the write has the links %v", links)
	}
}
