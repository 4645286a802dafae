// Package model is the model test of the six promises. Random schedules of commands, faults and restarts run the real consumer
// and writer, in a bubble whose clock is exact. The queue, the dead-letter queue and the table keep state and enforce the rules
// of AWS. An oracle that knows nothing of the consumer and the writer judges the history.
//
//	go test ./test/model -model.for=1m          # as many schedules as fit, from a random seed
//	go test ./test/model -model.seed=4711       # one schedule, again and again until it fails
//	go test ./test/model -fuzz=FuzzModel        # the fuzzer makes the schedule's choices
//	go run ./test/model/mutants                 # tests the test: it must find planted bugs
package model
