package control

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Register registers the agent's metrics, which are read at scrape time.
func (a *Agent) Register(r prometheus.Registerer) {
	f := promauto.With(r)
	gauge := func(name, help string, value func(Status) float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(a.Status()) })
	}
	gauge("tributary_control_age_seconds", "Time since the control partition was last read, or since the start. The worker writes nothing from 20 seconds on. 0 while it is not governed.",
		func(s Status) float64 { return s.Age })
	gauge("tributary_tenants_suspended", "Tenants that are suspended, as this worker obeys it.",
		func(s Status) float64 { return float64(s.Suspended) })
	gauge("tributary_workers_alive", "Workers that are alive, as this one sees it, itself included.",
		func(s Status) float64 { return float64(s.Alive) })
}
