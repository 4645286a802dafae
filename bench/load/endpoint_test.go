package main

import (
	"fmt"
	"testing"
	"time"
)

func TestEndpointSeesWhatIsDeletedTooEarly(t *testing.T) {
	e := newEndpoint(load{messages: 3, pack: 2}, 0, 0)
	e.arrive()
	if got := string(e.receive([]byte(`{"MaxNumberOfMessages":10}`))); number([]byte(got), `"MessageId":"00000000-0000-4000-8000-`) != 0 || len(e.queue) != 0 {
		t.Fatalf("received %s, %d are left", got, len(e.queue))
	}
	write := func(commands ...int) {
		body := ""
		for _, n := range commands {
			body += fmt.Sprintf(`"SK":{"S":"%s%d"}`, keyPrefix, n)
		}
		e.write([]byte(body))
	}
	remove := func(message int) { e.remove(fmt.Appendf(nil, `"ReceiptHandle":"%0*d"`, handleBytes, message)) }
	write(0, 1)
	remove(0)
	if e.early != 0 {
		t.Fatal("a durable message was held to be early")
	}
	write(2)
	remove(1) // command 3 is missing
	if e.early != 1 {
		t.Fatalf("%d early deletes seen, not 1", e.early)
	}
	write(4, 5, 5)
	if e.wrong != 1 {
		t.Fatalf("%d wrong writes seen, not the one with a key twice", e.wrong)
	}
	remove(2)
	remove(2)
	select {
	case <-e.finished:
	case <-time.After(time.Second):
		t.Fatal("all is deleted, and it is not finished")
	}
	if f := e.figures(); f.commands != 6 || f.messages != 3 {
		t.Errorf("%+v", f)
	}
}
