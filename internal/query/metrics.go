package query

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tributary/internal/query/auth"
	"tributary/internal/schema"
)

type metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	denied     *prometheus.CounterVec
	unreadable prometheus.Counter
}

func newMetrics(r prometheus.Registerer, types *schema.Set) *metrics {
	f := promauto.With(r)
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_query_requests_total",
			Help: "Requests to the query API, by route and HTTP status.",
		}, []string{"route", "code"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "tributary_query_request_duration_seconds",
			Help:                        "How long requests to the query API took, by route.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"route"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "tributary_query_in_flight_requests",
			Help: "Requests to the query API that are being served.",
		}),
		denied: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_query_denied_total",
			Help: "Requests to the query API that were denied, by reason.",
		}, []string{"reason"}),
		unreadable: f.NewCounter(prometheus.CounterOpts{
			Name: "tributary_query_unreadable_items_total",
			Help: "Items with attributes that could not be shown, or left out because their key names no " + types.NameList() + ".",
		}),
	}
}

// watch registers the metrics that are read at scrape time.
func (*metrics) watch(r prometheus.Registerer, a *auth.Authorizer, m *memory) {
	f := promauto.With(r)
	gauge := func(name, help, what string, stale func() bool) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"what": what}}, func() float64 {
			if stale() {
				return 1
			}
			return 0
		})
	}
	const name, help = "tributary_query_auth_stale", "1 while a file of tokens, or keys of JWTs, can't be read, so that an older state is in force."
	gauge(name, help, "tokens", a.StaleTokens)
	gauge(name, help, "keys", a.StaleKeys)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tributary_query_memory_bytes",
		Help: "Memory set aside for answers under way.",
	}, func() float64 { return float64(m.held.Load()) })
}
