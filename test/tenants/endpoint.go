package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"
)

// endpoint stands before the stack, behind all faults, and counts what the table has really done.
type endpoint struct {
	handler http.Handler

	mu       sync.Mutex
	units    float64             // write units that writes of tenants have consumed; guarded by mu
	metering float64             // those of the workers' own items; guarded by mu
	writes   map[string][]moment // of each tenant, in their order; guarded by mu
	durable  map[string]time.Time
}

// moment is when an item of a tenant was written.
type moment struct {
	at time.Time
	sk string
}

func newEndpoint(handler http.Handler) *endpoint {
	return &endpoint{handler: handler, writes: map[string][]moment{}, durable: map[string]time.Time{}}
}

// consumed are the units that an answer tells of.
type consumed struct{ CapacityUnits float64 }

// keys finds the keys of the items and deletes of a request. The worker puts PK first and SK behind it.
var keys = regexp.MustCompile(`"PK":\{"S":"tenant#([^"]+)"\},"SK":\{"S":"([^"]+)"\}`)

// ServeHTTP serves a call.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch operation {
	case "BatchWriteItem", "PutItem", "UpdateItem", "DeleteItem":
	default:
		e.handler.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	e.handler.ServeHTTP(answer, r)
	e.count(operation, body, answer)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (e *endpoint) count(operation string, body []byte, answer *httptest.ResponseRecorder) {
	now := time.Now()
	units := 0.0
	if operation == "BatchWriteItem" {
		var said struct{ ConsumedCapacity []consumed }
		if json.Unmarshal(answer.Body.Bytes(), &said) == nil && len(said.ConsumedCapacity) > 0 {
			units = said.ConsumedCapacity[0].CapacityUnits
		}
	} else {
		var said struct{ ConsumedCapacity consumed }
		if json.Unmarshal(answer.Body.Bytes(), &said) == nil {
			units = said.ConsumedCapacity.CapacityUnits
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if bytes.Contains(body, []byte(`"tributary#`)) {
		e.metering += units
		return
	}
	e.units += units
	if answer.Code != http.StatusOK {
		return
	}
	for _, m := range keys.FindAllSubmatch(body, -1) {
		tenant, sk := string(m[1]), string(m[2])
		e.writes[tenant] = append(e.writes[tenant], moment{now, sk})
		if key := tenant + "/" + sk; e.durable[key].IsZero() {
			e.durable[key] = now
		}
	}
}

// between counts the writes of a tenant from one time to another.
func (e *endpoint) between(tenant string, from, to time.Time) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.writes[tenant] {
		if !m.at.Before(from) && m.at.Before(to) {
			n++
		}
	}
	return n
}

// last returns when the tenant's last write was made.
func (e *endpoint) last(tenant string) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if all := e.writes[tenant]; len(all) > 0 {
		return all[len(all)-1].at
	}
	return time.Time{}
}

func (e *endpoint) durableAt(tenant, sk string) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.durable[tenant+"/"+sk]
}

func (e *endpoint) sums() (units, metering float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.units, e.metering
}
