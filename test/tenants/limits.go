package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	limit          = 500 // write units a second
	unitsOfOrder   = 2   // an order of up to 1 KB, of the table and of its index
	limitTolerance = 0.05
	takesOver      = 30 * time.Second
	// Another tenant's p99 beside a limited one may be this multiple of what it is alone, or longer by the time that a busy machine takes
	// to schedule a process.
	maxSlower = 1.5
	noise     = 10 * time.Millisecond
)

// limits: two workers keep a tenant to its limit together, another tenant's latency stays, and when one of them dies the other takes
// over its part.
func limits(ctx context.Context, r *rig) error {
	if err := r.setUp(ctx, "commands"); err != nil {
		return err
	}
	var workers []*process
	for range 2 {
		p, err := r.start(ctx, "--role", "consume")
		if err != nil {
			return err
		}
		workers = append(workers, p)
	}
	if err := r.tenant(ctx, "limit", "big", "--write-units", fmt.Sprint(limit, "/s")); err != nil {
		return err
	}
	if err := pause(ctx, 12*time.Second); err != nil { // each knows of the other by then
		return err
	}
	s := r.stream(ctx, "small", 50)
	if err := pause(ctx, r.lasts/2); err != nil {
		return err
	}
	alone, err := s.end(ctx)
	if err != nil {
		return err
	}
	total := (int(r.lasts.Seconds()) + 120) * limit / unitsOfOrder
	backlog := make([]message, total)
	for i := range backlog {
		backlog[i].body = order("big", fmt.Sprint("o", i), i, 0)
	}
	if err := r.send(ctx, backlog...); err != nil {
		return err
	}
	if err := pause(ctx, 10*time.Second); err != nil {
		return err
	}
	s = r.stream(ctx, "small", 50)
	from := time.Now()
	if err := pause(ctx, r.lasts); err != nil {
		return err
	}
	units := float64(r.endpoint.between("big", from, time.Now())*unitsOfOrder) / time.Since(from).Seconds()
	beside, err := s.end(ctx)
	if err != nil {
		return err
	}
	r.say("two workers, %d units/s allowed: %.0f a second over %v", limit, units, r.lasts)
	slower := float64(quantile(beside, .99)) / float64(quantile(alone, .99))
	r.say("another tenant's time to durable: p50 %v, p99 %v; beside the limited one p50 %v, p99 %v (%.2f times)",
		quantile(alone, .5), quantile(alone, .99), quantile(beside, .5), quantile(beside, .99), slower)

	workers[0].kill()
	if err := pause(ctx, takesOver); err != nil {
		return err
	}
	from = time.Now()
	if err := pause(ctx, takesOver); err != nil {
		return err
	}
	after := float64(r.endpoint.between("big", from, time.Now())*unitsOfOrder) / time.Since(from).Seconds()
	r.say("%v after one worker was killed: %.0f a second over the next %v", takesOver, after, takesOver)
	var errs []error
	for _, rate := range []float64{units, after} {
		if rate < limit*(1-limitTolerance) || rate > limit*(1+limitTolerance) {
			errs = append(errs, fmt.Errorf("%.0f units a second, %d are allowed", rate, limit))
		}
	}
	if slower > maxSlower && quantile(beside, .99)-quantile(alone, .99) > noise {
		errs = append(errs, fmt.Errorf("another tenant's p99 is %.2f times what it is alone", slower))
	}
	if n, err := r.depth(ctx); err != nil || n < limit {
		errs = append(errs, fmt.Errorf("the backlog was over too early: %d messages are left, %w", n, err))
	}
	return errors.Join(append(errs, r.requests(ctx))...)
}

var serves = regexp.MustCompile(`query="?([0-9.]+:\d+)`)

// requests: two workers keep a tenant to its limit of requests together.
func (r *rig) requests(ctx context.Context) error {
	const allowed, lasts = 50, 20 * time.Second
	if err := r.tenant(ctx, "limit", "reads", "--requests", fmt.Sprint(allowed, "/s")); err != nil {
		return err
	}
	var urls []string
	for range 2 {
		p, err := r.start(ctx, "--role", "query")
		if err != nil {
			return err
		}
		log, err := os.ReadFile(p.log)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		m := serves.FindSubmatch(log)
		if m == nil {
			return fmt.Errorf("the log names no address of the query API:\n%s", log)
		}
		urls = append(urls, "http://"+string(m[1]))
	}
	if err := pause(ctx, 12*time.Second); err != nil {
		return err
	}
	var served, refused atomic.Int64
	counting := atomic.Bool{}
	within, cancel := context.WithTimeout(ctx, lasts+2*time.Second)
	defer cancel()
	time.AfterFunc(2*time.Second, func() { counting.Store(true) }) // when what was saved up is used up
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for within.Err() == nil {
				request, err := http.NewRequestWithContext(within, http.MethodGet, urls[i%2]+"/v1/tenants/reads/users", nil)
				if err != nil {
					return fmt.Errorf("make request: %w", err)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					if within.Err() != nil {
						return nil
					}
					return fmt.Errorf("query: %w", err)
				}
				_ = response.Body.Close()
				switch {
				case !counting.Load():
				case response.StatusCode == http.StatusOK:
					served.Add(1)
				case response.StatusCode == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					return fmt.Errorf("query: status %d", response.StatusCode)
				}
				if err := pause(within, 5*time.Millisecond); err != nil {
					return nil //nolint:nilerr // the time is over
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	rate := float64(served.Load()) / lasts.Seconds()
	r.say("two query workers, %d requests/s allowed: %.1f a second were served, %d refused", allowed, rate, refused.Load())
	if rate < allowed*.9 || rate > allowed*1.1 || refused.Load() == 0 {
		return fmt.Errorf("%.1f requests a second, %d are allowed", rate, allowed)
	}
	return nil
}
