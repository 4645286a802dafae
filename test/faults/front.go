// Package faults is an HTTP front for tests: it stands before any SQS and DynamoDB and makes them fail as AWS
// does and local backends never do. It throttles by partition key, leaves items unprocessed, delays, resets
// connections, answers 500 before or after the call took place, and cuts answers short.
package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is a way to fail.
type Fault string

// The faults. Those "before" happen in the backend's place: it never sees the call. Those "after" happen when the
// backend has done what it was asked for.
const (
	Delay       Fault = "delay"        // the call waits, up to the rule's Delay
	ResetBefore Fault = "reset-before" // the connection is reset, nothing was done
	ResetAfter  Fault = "reset-after"  // the connection is reset in place of the answer
	ErrorBefore Fault = "error-before" // 500, nothing was done
	ErrorAfter  Fault = "error-after"  // 500, and yet it was done
	Cut         Fault = "cut"          // the answer breaks off half-way, after the call took effect

	// Throttles refuse the whole call before it is done. Their names say which ThrottlingReasons they carry.
	ThrottleKeyRange Fault = "throttle-key-range"
	ThrottleTable    Fault = "throttle-table"
	ThrottleAccount  Fault = "throttle-account"
	ThrottleBare     Fault = "throttle-bare" // none, as from SQS and older endpoints

	// Unprocessed leaves each write of a BatchWriteItem undone with the rule's rate; where none is left to do,
	// the call is refused as AWS does it.
	Unprocessed Fault = "unprocessed"
	// FailEntry fails each entry of an SQS batch call with the rule's rate.
	FailEntry Fault = "fail-entry"
)

var faults = []Fault{Delay, ResetBefore, ResetAfter, ErrorBefore, ErrorAfter, Cut,
	ThrottleKeyRange, ThrottleTable, ThrottleAccount, ThrottleBare, Unprocessed, FailEntry}

// Rule makes calls fail.
type Rule struct {
	Fault Fault `json:"fault"`
	// Operations are the calls that it is for, as "ReceiveMessage"; none stands for all.
	Operations []string `json:"operations,omitempty"`
	// Rate is the share of the calls (of writes or entries, for Unprocessed and FailEntry) that fail, 0 to 1.
	Rate float64 `json:"rate"`
	// MaxDelay is the longest that Delay waits; each wait is between 0 and it.
	MaxDelay time.Duration `json:"max_delay_ns,omitempty"`
}

// Config describes the faults. The zero Config passes everything on.
type Config struct {
	Rules []Rule `json:"rules,omitempty"`
	// WriteUnits is how many write units a second each partition key of each table has; 0 is no bound. Only the
	// item counts, not its index entries.
	WriteUnits float64 `json:"write_units,omitempty"`
	// Burst is how many units a key that was left alone has saved; 0 stands for a second's.
	Burst float64 `json:"burst,omitempty"`
}

// Validate checks a Config.
func (c *Config) Validate() error {
	var errs []error
	for i, r := range c.Rules {
		if !slices.Contains(faults, r.Fault) {
			errs = append(errs, fmt.Errorf("rule %d: fault %q is none of %v", i, r.Fault, faults))
		}
		if !(r.Rate >= 0 && r.Rate <= 1) {
			errs = append(errs, fmt.Errorf("rule %d: rate %v is not within 0 and 1", i, r.Rate))
		}
		if r.MaxDelay < 0 || (r.Fault == Delay && r.MaxDelay == 0) {
			errs = append(errs, fmt.Errorf("rule %d: a delay needs a positive max_delay_ns", i))
		}
	}
	if c.WriteUnits < 0 || c.Burst < 0 {
		errs = append(errs, errors.New("write_units and burst can't be negative"))
	}
	return errors.Join(errs...)
}

// Counts are how often each fault was injected, by "fault operation"; "throttle-bucket" and "unprocessed-bucket"
// stand for what WriteUnits refused. "calls operation" counts all calls.
type Counts map[string]int

// Backends are the endpoints behind a front. One that is empty is not served.
type Backends struct{ DynamoDB, SQS string }

// Front is an http.Handler that stands before its backends. It may be used by many goroutines.
type Front struct {
	backends Backends
	seed     uint64
	client   *http.Client
	now      func() time.Time
	script   Script // nil: rules alone decide

	mu      sync.Mutex // guards the fields below
	config  Config
	counts  Counts
	calls   map[string]uint64 // by operation
	buckets map[string]*bucket
}

// New makes a Front. What it does to the n-th call of an operation follows from seed, n and Config alone.
func New(backends Backends, seed uint64, config Config) (*Front, error) {
	for _, b := range []string{backends.DynamoDB, backends.SQS} {
		if u, err := url.Parse(b); err != nil || (b != "" && (u.Host == "" || u.Scheme == "")) {
			return nil, fmt.Errorf("backend %q is no URL", b)
		}
	}
	f := &Front{
		backends: backends, seed: seed, now: time.Now,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}},
		counts: Counts{}, calls: map[string]uint64{}, buckets: map[string]*bucket{},
	}
	return f, f.Set(config)
}

// Set changes the faults from the next call on. Buckets start full again.
func (f *Front) Set(config Config) error {
	if err := config.Validate(); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	config.Rules = slices.Clone(config.Rules)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.config = config
	clear(f.buckets)
	return nil
}

// Config returns the current faults.
func (f *Front) Config() Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	config := f.config
	config.Rules = slices.Clone(config.Rules)
	return config
}

// Counts returns the faults injected so far.
func (f *Front) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// Close drops the connections to the backends that are idle.
func (f *Front) Close() { f.client.CloseIdleConnections() }

// call is one request on its way through the front.
type call struct {
	front     *Front
	config    Config
	rand      *rand.Rand
	service   service
	operation string
	request   *http.Request
	body      []byte
	number    int // among the operation's calls
	plan      Plan
}

// maxRequest bounds the size of a request in memory. It is more than DynamoDB accepts.
const maxRequest = 64 << 20

// ServeHTTP passes a call on, or doesn't.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	prefix, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	service, known := services[prefix]
	target := f.backends.SQS
	if service == dynamoDB {
		target = f.backends.DynamoDB
	}
	if !known || target == "" {
		f.control(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return // the client is gone, or sends more than any backend takes
	}
	c := f.begin(service, operation, r, body)
	if f.script != nil {
		c.plan = f.script(&Call{operation, c.number, body})
	}
	if c.plan.Wait > 0 && !c.pause(c.plan.Wait) || c.hit(Delay) && !c.wait() {
		return
	}
	if c.plan.Refuse != "" && !c.plan.After {
		service.refuse(c.plan.Refuse).write(w)
		return
	}
	for _, fault := range []Fault{ResetBefore, ErrorBefore, ThrottleKeyRange, ThrottleTable, ThrottleAccount, ThrottleBare} {
		if !c.hit(fault) {
			continue
		}
		switch fault {
		case ResetBefore:
			reset(w)
		case ErrorBefore:
			service.serverError().write(w)
		default:
			service.throttle(fault, operation, c.table()).write(w)
		}
		return
	}
	part, refusal := c.split()
	if refusal != nil {
		refusal.write(w)
		return
	}
	got, err := c.forward(target)
	if err != nil {
		reset(w) // the backend is away: so is its front
		return
	}
	if got.status == http.StatusOK {
		part.merge(got)
	}
	switch {
	case c.plan.Refuse != "":
		service.refuse(c.plan.Refuse).write(w)
	case c.hit(ResetAfter):
		reset(w)
	case c.hit(ErrorAfter):
		service.serverError().write(w)
	case c.hit(Cut) && len(got.body) > 1:
		got.cut(w)
	default:
		got.write(w)
	}
}

// begin numbers the call and draws its own source of chance.
func (f *Front) begin(s service, operation string, r *http.Request, body []byte) *call {
	f.mu.Lock()
	defer f.mu.Unlock()
	number := f.calls[operation]
	f.calls[operation]++
	f.counts["calls "+operation]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(operation)) // never fails
	return &call{front: f, config: f.config, rand: rand.New(rand.NewPCG(f.seed, h.Sum64()^number)),
		service: s, operation: operation, request: r, body: body, number: int(number)} //nolint:gosec // time ends before
}

// rates returns the chance of a fault for this call: of several rules for it, each gets its turn.
func (c *call) rates(fault Fault) []Rule {
	var rules []Rule
	for _, r := range c.config.Rules {
		if r.Fault == fault && (len(r.Operations) == 0 || slices.Contains(r.Operations, c.operation)) {
			rules = append(rules, r)
		}
	}
	return rules
}

// chance says whether a fault happens, without counting it.
func (c *call) chance(fault Fault) bool {
	hit := false
	for _, r := range c.rates(fault) {
		hit = c.rand.Float64() < r.Rate || hit
	}
	return hit
}

// hit says whether a fault happens to this call, and counts it.
func (c *call) hit(fault Fault) bool {
	hit := c.chance(fault) || c.plan.Fault == fault
	if hit {
		c.count(string(fault), 1)
	}
	return hit
}

func (c *call) count(what string, n int) {
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	c.front.counts[what+" "+c.operation] += n
}

// wait delays the call by its rules, and says whether its client is still there.
func (c *call) wait() bool {
	var longest time.Duration
	for _, r := range c.rates(Delay) {
		longest = max(longest, r.MaxDelay)
	}
	return c.pause(time.Duration(c.rand.Float64() * float64(longest)))
}

// table is the call's table, or "".
func (c *call) table() string {
	var in struct {
		TableName    string
		RequestItems map[string]json.RawMessage
	}
	if json.Unmarshal(c.body, &in) != nil {
		return ""
	}
	for name := range in.RequestItems {
		return name
	}
	return in.TableName
}

// answer is a response held whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *call) forward(target string) (*answer, error) {
	r, err := http.NewRequestWithContext(c.request.Context(), c.request.Method, strings.TrimSuffix(target, "/")+c.request.URL.Path, bytes.NewReader(c.body))
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", c.operation, err)
	}
	r.Header = c.request.Header.Clone()
	for _, h := range []string{"Connection", "Expect", "Content-Length"} {
		r.Header.Del(h)
	}
	response, err := c.front.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", c.operation, err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read answer to %s: %w", c.operation, err)
	}
	return &answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// replace gives the answer another body, with the checksum that DynamoDB sends along.
func (a *answer) replace(body []byte) {
	a.body = body
	a.header.Del("Content-Length")
	a.header.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
}

func (a *answer) head(w http.ResponseWriter) {
	for name, values := range a.header {
		if name != "Connection" && name != "Transfer-Encoding" {
			w.Header()[name] = values
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
}

// A client that went away needs no answer: errors from writing it are ignored.

func (a *answer) write(w http.ResponseWriter) {
	a.head(w)
	_, _ = w.Write(a.body)
}

// cut sends half of what the head announces, and hangs up.
func (a *answer) cut(w http.ResponseWriter) {
	a.head(w)
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	reset(w)
}

// reset ends the connection without an answer, by RST where it is TCP.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the server resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// control lets another process see and change the faults: GET and PUT /faults (a Config), GET /counts.
func (f *Front) control(w http.ResponseWriter, r *http.Request) {
	var v any
	switch r.Method + " " + r.URL.Path {
	case "GET /counts":
		v = f.Counts()
	case "PUT /faults":
		var config Config
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		d.DisallowUnknownFields()
		err := d.Decode(&config)
		if err == nil {
			err = f.Set(config)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		v = config
	case "GET /faults":
		v = f.Config()
	default:
		http.Error(w, "this front passes on AWS JSON calls (X-Amz-Target) to the backends it was given, and answers GET and PUT /faults and GET /counts", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
