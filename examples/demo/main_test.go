//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A worker that ends badly must not pass, whatever the counts were until then.
func TestTheWorkersEndCounts(t *testing.T) {
	say := func(counts string) string {
		return "echo 'worker: " + counts + "; 9 commands settled, 0 dead letters' >&2"
	}
	for name, test := range map[string]struct{ script, wrong string }{
		"well":                {say("5 messages received: 3 deleted, 2 handed back, 0 left on the queue"), ""},
		"status":              {say("5 messages received: 3 deleted, 2 handed back, 0 left on the queue") + "; exit 3", "exit status 3"},
		"killed":              {"kill -9 $$", "signal: killed"},
		"left":                {say("5 messages received: 3 deleted, 1 handed back, 1 left on the queue"), "1 left"},
		"lost":                {say("5 messages received: 3 deleted, 1 handed back, 0 left on the queue"), "5 messages"},
		"no summary":          {"echo 'something else' >&2", "something else"},
		"more than a summary": {say("5 messages received: 5 deleted, 0 handed back, 0 left on the queue") + "; echo and more >&2", "and more"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &demo{bin: t.TempDir(), dir: t.TempDir()}
			if err := os.WriteFile(filepath.Join(d.bin, "worker"), []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			p, err := d.start("worker", nil, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			<-p.done
			err = d.stopAll()
			if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("got error %v, want %q", err, test.wrong)
			}
		})
	}
}
