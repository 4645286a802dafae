package control

import (
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/table"
	"tributary/internal/tenants"
)

// Partition is the partition key of the control partition. No tenant can have it: tenants' keys begin with "tenant#".
const Partition = "tributary#control"

// Sort keys of the control partition.
const (
	revisionKey   = "revision"
	tenantPrefix  = "tenant#"
	workerPrefix  = "worker#"
	auditPrefix   = "audit#"
	erasurePrefix = "erasure#"
)

// attributes are an item of the control partition. Its values are strings, numbers and booleans, so that people can read it.
type attributes table.Attributes

func newItem(sortKey string) attributes {
	a := attributes{}
	a.setText(table.PKAttribute, Partition)
	a.setText(table.SKAttribute, sortKey)
	return a
}

func key(sortKey string) table.Attributes { return table.Attributes(newItem(sortKey)) }

// The setters leave out what is empty.

func (a attributes) setText(name, value string) {
	if value != "" {
		a[name] = &types.AttributeValueMemberS{Value: value}
	}
}

func (a attributes) setInt(name string, value int64) { a[name] = integer(value) }

func (a attributes) setFloat(name string, value float64) {
	if value != 0 {
		a[name] = &types.AttributeValueMemberN{Value: strconv.FormatFloat(value, 'f', -1, 64)}
	}
}

func (a attributes) setTime(name string, value time.Time) {
	if !value.IsZero() {
		a.setText(name, value.UTC().Format(time.RFC3339Nano))
	}
}

// setExpiry sets the table's TTL attribute, in seconds upwards.
func (a attributes) setExpiry(value time.Time) {
	if !value.IsZero() {
		a.setInt(table.TTLAttribute, value.Add(time.Second-1).Unix())
	}
}

// The getters return the zero value for what is absent, or of another type: people may have edited the item.

func (a attributes) text(name string) string {
	if v, ok := a[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func (a attributes) number(name string) string {
	if v, ok := a[name].(*types.AttributeValueMemberN); ok {
		return v.Value
	}
	return ""
}

func (a attributes) int(name string) int64 {
	n, _ := strconv.ParseInt(a.number(name), 10, 64)
	return n
}

func (a attributes) float(name string) float64 {
	f, _ := strconv.ParseFloat(a.number(name), 64)
	return max(0, f)
}

func (a attributes) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339, a.text(name))
	if err != nil {
		return time.Time{}
	}
	return t
}

func (a attributes) expiry() time.Time {
	if n := a.int(table.TTLAttribute); n > 0 {
		return time.Unix(n, 0).UTC()
	}
	return time.Time{}
}

func integer(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// Names of a decision's attributes.
const (
	decidedAttribute = "decided" // how often; it guards the item against two who decide at once
	commandsWait     = "wait"
	commandsLetters  = "dead_letter"
	readsStopped     = "stopped"
)

// undecidedStays is for how long the item of a tenant about which nothing is decided any more says who ended the decision.
const undecidedStays = 24 * time.Hour

func decisionItem(d *tenants.Decision, decided int64) attributes {
	a := newItem(tenantPrefix + d.Tenant)
	a.setText("tenant", d.Tenant)
	a.setText("status", d.Status.String())
	if d.Status == tenants.Suspended {
		a.setText("commands", commandsWait)
		if d.Letters {
			a.setText("commands", commandsLetters)
		}
		if d.NoReads {
			a.setText("reads", readsStopped)
		}
	}
	a.setText("reason", d.Reason)
	a.setFloat("write_units_per_second", d.WriteUnits)
	a.setFloat("requests_per_second", d.Requests)
	a.setFloat("burst_seconds", d.Burst)
	a.setText("decided_by", d.By)
	a.setTime("decided_at", d.At)
	a.setInt(decidedAttribute, decided)
	a.setText("erasure", d.Erasure)
	expires := d.Expires
	if d.Nothing() {
		expires = d.At.Add(undecidedStays)
	}
	a.setExpiry(expires)
	return a
}

// readDecision is the reverse of decisionItem. A status that this version does not know suspends the tenant: it may be stricter
// than the ones known here.
func readDecision(a attributes) *tenants.Decision {
	d := &tenants.Decision{
		Tenant:     strings.TrimPrefix(a.text(table.SKAttribute), tenantPrefix),
		Reason:     a.text("reason"),
		WriteUnits: a.float("write_units_per_second"),
		Requests:   a.float("requests_per_second"),
		Burst:      a.float("burst_seconds"),
		By:         a.text("decided_by"),
		At:         a.time("decided_at"),
		Erasure:    a.text("erasure"),
	}
	var known bool
	if d.Status, known = tenants.ParseStatus(a.text("status")); !known {
		d.Status = tenants.Suspended
	}
	if d.Status == tenants.Suspended {
		d.Letters = a.text("commands") == commandsLetters
		d.NoReads = a.text("reads") == readsStopped
	}
	if d.Status == tenants.Erased {
		d.Expires = a.expiry()
	}
	return d
}

// Worker is what a worker says about itself.
type Worker struct {
	ID      string    `json:"worker"`
	Host    string    `json:"host"`
	Process int       `json:"process"`
	Role    string    `json:"role"` // all, consume or query
	Version string    `json:"version"`
	Types   string    `json:"types"`   // the fingerprint of the declared types
	Started time.Time `json:"started"` // by the worker's clock, as Updated is
	Updated time.Time `json:"updated"`
	// Beat counts the worker's items. A reader tells by it that the worker is alive, whatever the worker's clock says.
	Beat int64 `json:"beat"`
	// Revision is what the worker obeys. Confirmed is the newest revision for which no call that began under an older one is
	// under way.
	Revision  int64     `json:"revision"`
	Confirmed int64     `json:"confirmed"`
	Held      int       `json:"held_commands"`
	Expires   time.Time `json:"-"`
}

// Name is what people call the worker.
func (w *Worker) Name() string { return w.Host + "/" + strconv.Itoa(w.Process) + " (" + w.ID + ")" }

// writes says whether the worker takes a part of the limits of write units.
func (w *Worker) writes() bool { return w.Role != "query" }

// reads says whether the worker takes a part of the limits of requests.
func (w *Worker) reads() bool { return w.Role != "consume" && w.Role != "lambda" }

func workerItem(w *Worker) attributes {
	a := newItem(workerPrefix + w.ID)
	a.setText("worker", w.ID)
	a.setText("host", w.Host)
	a.setInt("process", int64(w.Process))
	a.setText("role", w.Role)
	a.setText("version", w.Version)
	a.setText("types", w.Types)
	a.setTime("started", w.Started)
	a.setTime("updated", w.Updated)
	a.setInt("beat", w.Beat)
	a.setInt("revision", w.Revision)
	a.setInt("confirmed", w.Confirmed)
	a.setInt("held_commands", int64(w.Held))
	a.setExpiry(w.Expires)
	return a
}

func readWorker(a attributes) Worker {
	return Worker{
		ID: strings.TrimPrefix(a.text(table.SKAttribute), workerPrefix), Host: a.text("host"), Process: int(a.int("process")),
		Role: a.text("role"), Version: a.text("version"), Types: a.text("types"), Started: a.time("started"), Updated: a.time("updated"),
		Beat: a.int("beat"), Revision: a.int("revision"), Confirmed: a.int("confirmed"), Held: int(a.int("held_commands")), Expires: a.expiry(),
	}
}

// Entry is one record of what was decided.
type Entry struct {
	At       time.Time `json:"at"`
	Tenant   string    `json:"tenant"`
	Action   string    `json:"action"` // suspend, resume, limit, erase, …
	By       string    `json:"by"`
	Detail   string    `json:"detail,omitempty"` // what was decided, in words
	Reason   string    `json:"reason,omitempty"`
	Revision int64     `json:"revision"`
}

// auditStays is for how long the records of decisions are kept: a year and a month.
const auditStays = 396 * 24 * time.Hour

// auditTime has a fixed width, so that records sort by time.
const auditTime = "2006-01-02T15:04:05.000000000Z"

func auditItem(e *Entry) attributes {
	a := newItem(auditPrefix + e.At.UTC().Format(auditTime) + "#" + e.Tenant)
	a.setText("tenant", e.Tenant)
	a.setText("action", e.Action)
	a.setText("by", e.By)
	a.setTime("at", e.At)
	a.setText("detail", e.Detail)
	a.setText("reason", e.Reason)
	a.setInt("revision", e.Revision)
	a.setExpiry(e.At.Add(auditStays))
	return a
}

func readEntry(a attributes) Entry {
	return Entry{
		At: a.time("at"), Tenant: a.text("tenant"), Action: a.text("action"), By: a.text("by"), Detail: a.text("detail"),
		Reason: a.text("reason"), Revision: a.int("revision"),
	}
}
