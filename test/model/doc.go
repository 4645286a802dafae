// Package model holds the model test of the six promises: random schedules of commands, faults and restarts run the
// real consumer and writer against a queue, a dead-letter queue and a table that keep state and enforce AWS's
// rules, in a bubble whose clock is exact. An oracle that knows nothing of either judges the history.
//
//	go test ./test/model -model.for=1m          # as many schedules as fit, from a random seed on
//	go test ./test/model -model.seed=4711       # one schedule, again and again until it fails
//	go test ./test/model -fuzz=FuzzModel        # the schedule's choices come from the fuzzer
//	go run ./test/model/mutants                 # a test of the test: planted bugs must be found
package model
