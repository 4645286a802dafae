package model

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tributary/internal/operate/metrics"
	"tributary/internal/schema"
)

var (
	seedFlag = flag.Uint64("model.seed", 0, "play only this schedule, again and again until it fails (jitter differs between plays)")
	forFlag  = flag.Duration("model.for", 2*time.Second, "how long to play schedules")
	logFlag  = flag.Bool("model.history", false, "print the history of a schedule that fails")
)

// visibility is the queue's visibility timeout in every schedule.
const visibility = 30 * time.Second

// replays is how often -model.seed plays a schedule before it counts as passed.
const replays = 2000

// TestMain gives the schedules one processor. A bubble's goroutines are faster without a second one, and run in nearly the same
// order each time.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// TestModel plays random schedules.
func TestModel(t *testing.T) {
	if *seedFlag != 0 {
		m := newMetrics()
		for range replays {
			if play1(t, m, *seedFlag, nil); t.Failed() {
				return
			}
		}
		return
	}
	m := newMetrics()
	first := rand.Uint64() >> 16
	began := time.Now()
	n := uint64(0)
	for ; time.Since(began) < *forFlag && !t.Failed(); n++ {
		if n%5000 == 4999 {
			m = newMetrics()
		}
		play1(t, m, first+n, nil)
	}
	t.Logf("%d schedules from seed %d on, %.0f a second", n, first, float64(n)/time.Since(began).Seconds())
}

// FuzzModel lets the fuzzer make the choices.
func FuzzModel(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), []byte("\x00\x03\x01\x02\x00\x01\x01\x00\x04\x0b"))
	m := newMetrics()
	f.Fuzz(func(t *testing.T, seed uint64, choices []byte) {
		play1(t, m, seed, choices)
	})
}

func newMetrics() *metrics.Metrics { return metrics.New(prometheus.NewRegistry(), schema.Builtin(), 4) }

// play1 plays one schedule. It fails t if a promise is broken.
func play1(t *testing.T, m *metrics.Metrics, seed uint64, choices []byte) {
	t.Helper()
	replay := fmt.Sprintf("replay: go test ./test/model -run TestModel -model.seed=%d", seed)
	watchdog := time.AfterFunc(30*time.Second, func() { panic("a schedule hangs; " + replay) })
	defer watchdog.Stop()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%v\n%s", p, replay)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w, consuming, writing := play(newDraw(seed, choices), m)
		broken := append(w.broken, newOracle(w.queue.fifo, w.ordered, writing.MaxInFlight).judge(w.history)...)
		if len(broken) == 0 {
			return
		}
		t.Errorf("seed %d: %d promises broken (fifo %v, writers %d, max in flight %d, share %d, require version %v)",
			seed, len(broken), w.queue.fifo, writing.Writers, writing.MaxInFlight, writing.TenantShare, consuming.RequireVersion)
		for _, b := range broken {
			t.Error(b)
		}
		t.Error(replay)
		if *logFlag {
			for i := range w.history {
				t.Log(w.history[i].String())
			}
		}
	})
}
