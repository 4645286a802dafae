package messages

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"tributary/internal/aws/limits"
)

// decodeOne decodes a body that carries one valid command.
func decodeOne(t *testing.T, text string, a *Attributes) Decoded {
	t.Helper()
	decoded, err := Decode(nil, text, a)
	if err != nil || len(decoded) != 1 || decoded[0].Err != nil {
		t.Fatalf("%.300q decodes to %v, %v", text, decoded, err)
	}
	return decoded[0]
}

func TestDecodeFields(t *testing.T) {
	got := decodeOne(t, with(with(order, `"version":7`), `"attributes": {"a" : 1.50}`), nil).Command
	want := Command{Kind: PutOrder, TenantID: "tenantA", OrderID: "o1", UserID: "u1", OrderAmount: "150.00", Version: 7, Attributes: `{"a" : 1.50}`}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = decodeOne(t, but(user, "Alice", `A\u006cice \ud83d\ude00`), nil).Command
	want = Command{Kind: PutUser, TenantID: "tenantA", UserID: "u1", UserName: "Alice 😀", UserEmail: "alice@example.com"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDecodeNeighbours: bad commands fail alone, and every command has its own text.
func TestDecodeNeighbours(t *testing.T) {
	texts := []string{user, but(order, "o1", ""), " " + noUser + "\n", "null", with(noOrd, `"attributes":{"a":"\ud800"}`), with(user, `"\ud800":"\ud800"`), noOrd}
	bad := []bool{false, true, false, true, true, true, false}
	for _, form := range [][2]string{{"[", "]"}, {`{"commands":[`, "]}"}, {` { "commands" : [`, "]\n}\n"}} {
		before := []Decoded{{Text: "what was there"}}
		decoded, err := Decode(before, form[0]+strings.Join(texts, ",")+form[1], nil)
		if err != nil || len(decoded) != 1+len(texts) || decoded[0].Text != "what was there" {
			t.Fatalf("decoded %v, %v", decoded, err)
		}
		for i, d := range decoded[1:] {
			if d.Text != strings.TrimSpace(texts[i]) {
				t.Errorf("text %d is %q, want %q", i, d.Text, texts[i])
			}
			if (d.Err != nil) != bad[i] {
				t.Errorf("command %d: %v", i, d.Err)
			}
		}
		if decoded[2].Command.TenantID != "tenantA" {
			t.Error("a bad command's tenant is not kept")
		}
	}
}

func TestDecodeWrappings(t *testing.T) {
	attributes := `,
  "MessageAttributes" : {
    "other" : 5,
    "tenant_id" : {"Type":"String","Value":"tenantA"},
    "traceparent" : {"Value":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","Type":"String"},
    "tracestate" : {"Type":"String","Value":"a=b"}
  }`
	traced := Attributes{TenantID: "tenantA", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b"}
	escaped := but(order, "o1", `o\u0031 \"x\"`)
	for _, test := range []struct {
		name, text string
		want       []string
		attributes Attributes
	}{
		{name: "SNS", text: sns(order, attributes), want: []string{order}, attributes: traced},
		{name: "SNS, escapes within", text: sns(escaped, ""), want: []string{escaped}},
		{name: "SNS, array", text: sns("["+user+", "+order+"]", ""), want: []string{user, order}},
		{name: "SNS, packed", text: sns(`{"commands":[`+user+`]}`, ""), want: []string{user}},
		{name: "EventBridge", text: eventBridge(order), want: []string{order}},
		{name: "EventBridge, packed", text: eventBridge(`{"commands":[` + user + `,` + order + `]}`), want: []string{user, order}},
		{name: "EventBridge in SNS", text: sns(eventBridge(order), attributes), want: []string{order}, attributes: traced},
		{name: "CloudEvents", text: cloudEvent(`"data":` + order), want: []string{order}},
		{name: "CloudEvents, array", text: cloudEvent(`"data":[` + order + `]`), want: []string{order}},
		{name: "CloudEvents, base64", text: cloudEvent(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(order)) + `"`), want: []string{order}},
		{name: "CloudEvents with trace", text: cloudEvent(`"traceparent":"00-1","tracestate":"c=d","data":` + order), want: []string{order}, attributes: Attributes{TraceParent: "00-1", TraceState: "c=d"}},
		{name: "CloudEvents of a command's type", text: strings.Replace(cloudEvent(`"data":`+order), "com.example.order.placed", "put_order", 1), want: []string{order}},
		{name: "four wrappings", text: sns(eventBridge(cloudEvent(`"data":`+eventBridge(order))), ""), want: []string{order}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a Attributes
			decoded, err := Decode(nil, test.text, &a)
			if err != nil || len(decoded) != len(test.want) {
				t.Fatalf("decoded %v, %v", decoded, err)
			}
			for i, d := range decoded {
				if d.Err != nil || d.Text != test.want[i] {
					t.Errorf("command %d is %q (%v), want %q", i, d.Text, d.Err, test.want[i])
				}
			}
			if a != test.attributes {
				t.Errorf("attributes are %+v, want %+v", a, test.attributes)
			}
		})
	}
}

func TestDecodeNoWrapping(t *testing.T) {
	for _, test := range []struct {
		name, text string
		reason     Reason
	}{
		{"too many wrappings", sns(eventBridge(cloudEvent(`"data":`+eventBridge(cloudEvent(`"data":`+order)))), ""), ReasonTooLarge},
		{"broken JSON in SNS", sns(order[1:], ""), ReasonMalformed},
		{"text in SNS", sns("hello", ""), ReasonMalformed},
		{"no commands in SNS", sns("[]", ""), ReasonEmpty},
		{"text in CloudEvents", cloudEvent(`"data":"hello"`), ReasonMalformed},
		{"broken base64", cloudEvent(`"data_base64":"?"`), ReasonInvalidField},
		{"Message twice", sns(order, `,"Message":"x"`), ReasonDuplicateField},
		{"SNS's other messages", strings.Replace(sns(order, ""), "Notification", "SubscriptionConfirmation", 1), ReasonMissingField},
		{"detail without the rest", `{"detail":` + order + `}`, ReasonMissingField},
		{"a command with a detail", with(order, `"detail":`+order), ReasonUnknownField},
		{"a command with data", with(order, `"data":`+order), ReasonUnknownField},
		{"a command with Message", with(order, `"Message":"x"`), ReasonUnknownField},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := firstError(Decode(nil, test.text, nil)); err == nil || err.Reason != test.reason {
				t.Errorf("error is %v, wanted %s", err, test.reason)
			}
		})
	}
}

func TestDecodeTenantAttribute(t *testing.T) {
	other := but(order, "tenantA", "tenantB")
	decoded, err := Decode(nil, "["+user+","+other+","+but(other, "o1", "")+"]", &Attributes{TenantID: "tenantA"})
	if err != nil || decoded[0].Err != nil || decoded[1].Err == nil || decoded[1].Err.Reason != ReasonTenantMismatch || decoded[2].Err.Reason != ReasonInvalidField {
		t.Errorf("decoded %v, %v", decoded, err)
	}
	// The message's own attribute goes before the wrapping's.
	a := Attributes{TenantID: "tenantA", TraceParent: "00-own"}
	decodeOne(t, sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":"tenantB"},"traceparent":{"Type":"String","Value":"x"}}`), &a)
	if a.TenantID != "tenantA" || a.TraceParent != "00-own" {
		t.Errorf("attributes became %+v", a)
	}
	decoded, err = Decode(nil, sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":"tenantB"}}`), nil)
	if got := firstError(decoded, err); got == nil || got.Reason != ReasonTenantMismatch {
		t.Errorf("a wrapped tenant_id attribute is not held against the command: %v", got)
	}
}

// TestDecodeInvalidUTF8: SQS delivers none, a file of commands may.
func TestDecodeInvalidUTF8(t *testing.T) {
	decoded, err := Decode(nil, "["+but(user, "Alice", "\xff")+","+with(user, "\"attributes\":{\"a\":\"\xc3\"}")+","+order+"]", nil)
	if err != nil || decoded[0].Err == nil || decoded[1].Err == nil || decoded[2].Err != nil {
		t.Errorf("decoded %v, %v", decoded, err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	body := "[" + user + "," + with(order, `"version":7,"attributes":{"a":[1,{"b":"c"}]}`) + "," + noOrd + "]"
	dst := make([]Decoded, 0, 3)
	a := Attributes{TenantID: "tenantA"}
	if n := testing.AllocsPerRun(100, func() {
		if decoded, err := Decode(dst, body, &a); firstError(decoded, err) != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestValidate has what Decode can't bring: commands that were made in Go.
func TestValidate(t *testing.T) {
	good := Command{Kind: PutOrder, TenantID: "t", OrderID: "o", UserID: "u", OrderAmount: "1"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Command){
		"type":         func(c *Command) { c.Kind = 0 },
		"tenant_id":    func(c *Command) { c.TenantID = "" },
		"order_id":     func(c *Command) { c.OrderID = "\xff" },
		"user_id":      func(c *Command) { c.UserID = "" },
		"order_amount": func(c *Command) { c.OrderAmount = "" },
		"user_name":    func(c *Command) { c.UserName = "x" },
		"version":      func(c *Command) { c.Version = -1 },
		"attributes":   func(c *Command) { c.Attributes = `{"a":1} x` },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || err.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestItemLimit(t *testing.T) {
	c := Command{Kind: PutUser, TenantID: "t", UserID: "u"}
	c.UserName = strings.Repeat("x", limits.DynamoDBItemBytes-c.ItemBytes())
	if err := c.Validate(); err != nil || c.ItemBytes() != 400<<10 {
		t.Errorf("an item of exactly 400 KB is refused: %v", err)
	}
	c.UserName += "x"
	if err := c.Validate(); err == nil || err.Reason != ReasonTooLarge || !strings.Contains(err.Detail, "409601") {
		t.Errorf("error is %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"150.00": "150", "007.50": "7.5", "-0": "0", "0E999": "0", "0.000": "0", "1e3": "1000", "-1.5E-2": "-0.015",
		"12345.6789e-3": "12.3456789", "1.5" + strings.Repeat("0", 40): "1.5", "1E125": "1" + strings.Repeat("0", 125),
		"1E-130": "0." + strings.Repeat("0", 129) + "1", "100": "100", "0.1e1": "1", "120e-1": "12", "-987e-2": "-9.87",
		"1E126": "", "9E-131": "", "": "", "-": "", "x": "", "1x": "", "1e+": "", "1.e1": "", ".1": "", "--1": "",
	} {
		got, ok := AppendNumber(nil, text)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	// As DynamoDB Local 3.3.1 counts them, found by filling items up to the limit.
	for text, want := range map[string]int{
		"0": 1, "1": 2, "-1": 3, "12": 2, "123": 3, "1234": 3, "12345": 4, "-12345": 5, "0.5": 2, "0.05": 2, "0.005": 2, "1.5": 3,
		"15.5": 3, "100": 2, "1000": 2, "10000": 2, "1E125": 2, "1E-130": 2, strings.Repeat("1", 38): 20, "123456789.123456789": 11,
		"12.34": 3, "1.234": 4,
	} {
		if n, ok := parseNumber(text); !ok || n.bytes() != want {
			t.Errorf("%s takes %d bytes, want %d", text, n.bytes(), want)
		}
	}
}

func TestGroupID(t *testing.T) {
	c := Command{Kind: PutOrder, TenantID: "tenantA", OrderID: "o1", UserID: "u1"}
	if got := GroupID(&c, false); got != "tenantA" {
		t.Errorf("standard: %q", got)
	}
	// FNV-1a of "order#o1" is fixed: producers in other languages compute it too.
	if got := GroupID(&c, true); got != "tenantA#28" {
		t.Errorf("FIFO: %q", got)
	}
	del := Command{Kind: DeleteOrder, TenantID: "tenantA", OrderID: "o1"}
	if GroupID(&del, true) != GroupID(&c, true) {
		t.Error("put and delete of one key are in two groups")
	}
	seen := map[string]bool{}
	for i := range 1000 {
		c.OrderID = strings.Repeat("o", i%256+1) + string(rune('a'+i/256))
		seen[GroupID(&c, true)] = true
	}
	if len(seen) != groupBuckets {
		t.Errorf("1000 keys are in %d groups", len(seen))
	}
	c.TenantID = strings.Repeat("t", MaxTenantIDBytes)
	other := c
	other.TenantID = c.TenantID[:MaxTenantIDBytes-1] + "u"
	if a, b := GroupID(&c, true), GroupID(&other, true); len(a) > limits.SQSGroupIDBytes || len(b) > limits.SQSGroupIDBytes || a == b {
		t.Errorf("long tenants: %q and %q", a, b)
	}
}

// FuzzDecode holds Decode to encoding/json: what it accepts is JSON with the values that it says, what it refuses as
// broken is broken; and what it accepts survives encoding.
func FuzzDecode(f *testing.F) {
	for _, b := range bodies {
		if len(b.text) < 4096 {
			f.Add(b.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		decoded, err := Decode(nil, text, nil)
		if err != nil {
			if err.Reason == ReasonMalformed && len(text) > 0 && (text[0] == '[') && json.Valid([]byte(text)) {
				t.Fatalf("%q is JSON, refused with %v", text, err)
			}
			checkDetail(t, err)
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON", text)
		}
		var packed []byte
		var commands []Command
		for i := range decoded {
			d := &decoded[i]
			if d.Err != nil {
				checkDetail(t, d.Err)
				continue
			}
			sameAsStandard(t, d)
			packed = AppendPacked(packed, &d.Command)
			commands = append(commands, d.Command)
		}
		if commands == nil {
			return
		}
		again, err := Decode(nil, string(packed), nil)
		if firstError(again, err) != nil || !utf8.Valid(packed) {
			t.Fatalf("%q was encoded as %q, which is refused: %v", text, packed, firstError(again, err))
		}
		for i, d := range again {
			if d.Command != commands[i] {
				t.Fatalf("%+v was encoded as %q, which reads as %+v", commands[i], d.Text, d.Command)
			}
		}
	})
}

// sameAsStandard reads a valid command's text with encoding/json and compares.
func sameAsStandard(t *testing.T, d *Decoded) {
	t.Helper()
	var std struct {
		Type        string          `json:"type"`
		TenantID    string          `json:"tenant_id"`
		UserID      string          `json:"user_id"`
		OrderID     string          `json:"order_id"`
		UserName    string          `json:"user_name"`
		UserEmail   string          `json:"user_email"`
		OrderAmount any             `json:"order_amount"`
		Version     json.Number     `json:"version"`
		Attributes  json.RawMessage `json:"attributes"`
	}
	decoder := json.NewDecoder(strings.NewReader(d.Text))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&std); err != nil {
		t.Fatalf("%q: encoding/json says %v", d.Text, err)
	}
	want := Command{Kind: KindOf(std.Type), TenantID: std.TenantID, UserID: std.UserID, OrderID: std.OrderID, UserName: std.UserName,
		UserEmail: std.UserEmail, Attributes: string(std.Attributes), Version: d.Command.Version}
	switch amount := std.OrderAmount.(type) {
	case string:
		want.OrderAmount = amount
	case json.Number:
		want.OrderAmount = string(amount)
	}
	if !reflect.DeepEqual(d.Command, want) || (std.Version != "") != (want.Version != 0) {
		t.Fatalf("%q reads as %+v, encoding/json has %+v", d.Text, d.Command, want)
	}
	if n, err := std.Version.Int64(); err == nil && n != want.Version {
		t.Fatalf("%q has version %d", d.Text, want.Version)
	}
}
