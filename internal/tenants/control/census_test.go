package control

import (
	"testing"
	"time"

	"tributary/internal/tenants"
)

func TestCensus(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type look struct {
		at      time.Duration
		beat    int64         // 0: the item is not there
		updated time.Duration // by the worker's clock, since start
	}
	for name, test := range map[string]struct {
		trust time.Duration
		looks []look
		at    time.Duration
		alive bool
	}{
		"just seen":                           {tenants.DeadAfter, []look{{0, 1, 0}}, 24 * time.Second, true},
		"silent since":                        {tenants.DeadAfter, []look{{0, 1, 0}}, 25 * time.Second, false},
		"an old item":                         {tenants.DeadAfter, []look{{0, 1, -time.Minute}}, 0, false},
		"an old item that beats":              {tenants.DeadAfter, []look{{0, 1, -time.Hour}, {5 * time.Second, 2, -time.Hour}}, 6 * time.Second, true},
		"an item from the future":             {tenants.DeadAfter, []look{{0, 1, time.Hour}}, 24 * time.Second, true},
		"an item from the future, and silent": {tenants.DeadAfter, []look{{0, 1, time.Hour}, {20 * time.Second, 1, time.Hour}}, 25 * time.Second, false},
		"gone":                                {tenants.DeadAfter, []look{{0, 1, 0}, {time.Second, 0, 0}}, time.Second, false},
		"half as old":                         {tenants.DeadAfter, []look{{0, 1, -10 * time.Second}}, 15 * time.Second, false},
		"an old item, little trust":           {13 * time.Second, []look{{0, 1, -time.Hour}}, 11 * time.Second, true},
		"an old item, little trust, silent":   {13 * time.Second, []look{{0, 1, -time.Hour}}, 12 * time.Second, false},
		"a clock that is set back and beats":  {tenants.DeadAfter, []look{{0, 5, 0}, {20 * time.Second, 6, -time.Hour}}, 40 * time.Second, true},
	} {
		c := census{trust: test.trust}
		for _, l := range test.looks {
			var workers []Worker
			if l.beat > 0 {
				workers = append(workers, Worker{ID: "w", Role: "consume", Beat: l.beat, Updated: start.Add(l.updated)})
			}
			c.look(start.Add(l.at), workers)
		}
		writers, readers, all, _ := c.count(start.Add(test.at), "me")
		if alive := all == 1; alive != test.alive || readers != 0 || writers != all {
			t.Errorf("%s: %d writers, %d readers, %d in all", name, writers, readers, all)
		}
		if _, _, all, _ := c.count(start.Add(test.at), "w"); all != 0 {
			t.Errorf("%s: it counts itself", name)
		}
	}
}
