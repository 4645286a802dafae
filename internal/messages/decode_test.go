package messages

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tributary/internal/aws/limits"
	"tributary/internal/base/rawjson"
)

// decodeOne decodes a body that carries one valid command.
func decodeOne(t *testing.T, text string, a *Attributes) Decoded {
	t.Helper()
	decoded, err := Decode(types, nil, text, a)
	if err != nil || len(decoded) != 1 || decoded[0].Err != nil {
		t.Fatalf("%.300q decodes to %v, %v", text, decoded, err)
	}
	return decoded[0]
}

func TestDecodeFields(t *testing.T) {
	got := decodeOne(t, with(with(order, `"version":7`), `"attributes": {"a" : 1.50}`), nil).Command
	want := Put(orderType, "tenantA", "o1", "u1", "150.00")
	want.Version, want.Attributes, want.bytes = 7, `{"a" : 1.50}`, 87
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = decodeOne(t, but(user, "Alice", `A\u006cice \ud83d\ude00`), nil).Command
	want = Put(userType, "tenantA", "u1", "Alice 😀", "alice@example.com")
	want.bytes = 80
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
		decoded, err := Decode(types, before, form[0]+strings.Join(texts, ",")+form[1], nil)
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
		{name: "EventBridge, text", text: eventBridge(text(order)), want: []string{order}},
		{name: "CloudEvents, text", text: cloudEvent(`"data":` + text("["+user+","+order+"]")), want: []string{user, order}},
		{name: "CloudEvents, base64 with a byte order mark", text: cloudEvent(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(byteOrderMark+order)) + `"`), want: []string{order}},
		{name: "Pipes", text: pipesRecord(order, `"tenant_id":{"stringValue":"tenantA","stringListValues":[],"binaryListValues":[],"dataType":"String"}`), want: []string{order}, attributes: Attributes{TenantID: "tenantA"}},
		{name: "Pipes, attribute of the sender's own type", text: pipesRecord(order, `"tenant_id":{"stringValue":"tenantA","dataType":"String.id"}`), want: []string{order}, attributes: Attributes{TenantID: "tenantA"}},
		{name: "SNS in Pipes", text: pipesRecord(sns(order, attributes), ""), want: []string{order}, attributes: traced},
		{name: "batch of CloudEvents", text: "[" + cloudEvent(`"data":`+order) + "," + cloudEvent(`"data":[`+user+","+noUser+"]") + "," + noOrd + "]", want: []string{order, user, noUser, noOrd}},
		{name: "packed EventBridge events", text: `{"commands":[` + eventBridge(order) + `,` + eventBridge(text(user)) + `]}`, want: []string{order, user}},
		{name: "a batch in SNS", text: sns("["+cloudEvent(`"data":`+order)+"]", attributes), want: []string{order}, attributes: traced},
		{name: "an element with a tenant", text: "[" + snsOf(order, "tenantA") + "," + user + "]", want: []string{snsOf(order, "tenantA"), user}},
		{name: "a command of U+FFFE escaped, in SNS", text: sns(but(user, "Alice", `\ufffe`), ""), want: []string{but(user, "Alice", `\ufffe`)}},
		{name: "a command of U+FFFD in SNS", text: sns(but(user, "Alice", "\ufffd\U0010ffff\u007f"), ""), want: []string{but(user, "Alice", "\ufffd\U0010ffff\u007f")}},
		{name: "four wrappings", text: sns(eventBridge(cloudEvent(`"data":`+eventBridge(order))), ""), want: []string{order}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a Attributes
			decoded, err := Decode(types, nil, test.text, &a)
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

// text is a JSON string that means s.
func text(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(quoted)
}

// snsOf is a notification with a tenant_id attribute.
func snsOf(message, tenant string) string {
	return sns(message, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":"`+tenant+`"}}`)
}

// TestDecodeTextWithin: text in a wrapping was not seen by SQS, and is held to what SQS demands of a body: it may become
// the body of a dead letter.
func TestDecodeTextWithin(t *testing.T) {
	bad := but(user, "Alice", "?")
	for _, within := range []struct {
		name string
		text string // as it stands in a JSON string, for ?
		raw  string // as bytes of base64, for ?
	}{
		{"U+FFFE", `\ufffe`, "\ufffe"},
		{"U+FFFF", `\uffff`, "\uffff"},
		{"a control character", `\u0001`, "\x01"},
		{"a zero", `\u0000`, "\x00"},
		{"high half of a surrogate pair", `\ud800`, "\xed\xa0\x80"},
		{"low half of a surrogate pair", `\udfff`, "\xed\xbf\xbf"},
		{"broken UTF-8", "\xff", "\xff"},
	} {
		quoted := strings.Replace(text(bad), "?", within.text, 1)
		for name, body := range map[string]string{
			"Message":     strings.Replace(sns("?", ""), `"?"`, quoted, 1),
			"detail":      eventBridge(quoted),
			"data":        cloudEvent(`"data":` + quoted),
			"data_base64": cloudEvent(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(strings.Replace(bad, "?", within.raw, 1))) + `"`),
			"body":        strings.Replace(pipesRecord("?", ""), `"?"`, quoted, 1),
		} {
			t.Run(within.name+" in "+name, func(t *testing.T) {
				decoded, err := Decode(types, nil, body, nil)
				if err == nil || len(decoded) != 0 || err.Reason != ReasonInvalidField || err.Field != name {
					t.Fatalf("decoded %v, %v", decoded, err)
				}
				checkDetail(t, err)
				// In an array it is the element's fault, and its letter is the element.
				decoded, err = Decode(types, nil, "["+order+","+body+"]", nil)
				if err != nil || len(decoded) != 2 || decoded[0].Err != nil || decoded[1].Err == nil || decoded[1].Text != body {
					t.Errorf("in an array it decodes to %v, %v", decoded, err)
				}
			})
		}
	}
}

// TestDecodeElements: elements that are wrapped fail alone, and what their attributes say stays with their letters.
func TestDecodeElements(t *testing.T) {
	other := but(order, "tenantA", "tenantB")
	broken := cloudEvent(`"data":"x"`)
	for _, test := range []struct {
		name     string
		body     string
		texts    []string
		reasons  []Reason
		tenantID string
	}{
		{name: "broken within", body: "[" + user + "," + broken + "]", texts: []string{user, broken}, reasons: []Reason{"", ReasonMalformed}},
		{name: "bad command within", body: "[" + cloudEvent(`"data":`+but(order, "o1", "")) + "]", texts: []string{but(order, "o1", "")}, reasons: []Reason{ReasonInvalidField}},
		{name: "another tenant", body: "[" + snsOf(other, "tenantA") + "," + other + "]", texts: []string{snsOf(other, "tenantA"), other}, reasons: []Reason{ReasonTenantMismatch, ""}},
		{name: "a tenant of its own", body: "[" + snsOf(other, "tenantB") + "," + snsOf(user, "tenantA") + "]", texts: []string{snsOf(other, "tenantB"), snsOf(user, "tenantA")}, reasons: []Reason{"", ""}},
		{name: "the message's tenant goes first", body: "[" + snsOf(other, "tenantB") + "," + user + "]", texts: []string{other, user}, reasons: []Reason{ReasonTenantMismatch, ""}, tenantID: "tenantA"},
		{name: "a tenant for two", body: "[" + snsOf("["+user+","+user+"]", "tenantA") + "]", texts: []string{snsOf("["+user+","+user+"]", "tenantA")}, reasons: []Reason{ReasonMalformed}},
		{name: "S3's test", body: "[" + s3TestEvent + "," + s3Notification + "]", texts: []string{s3TestEvent, s3Notification}, reasons: []Reason{ReasonNotACommand, ReasonNotACommand}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := Attributes{TenantID: test.tenantID}
			decoded, err := Decode(types, nil, test.body, &a)
			if err != nil || len(decoded) != len(test.texts) {
				t.Fatalf("decoded %v, %v", decoded, err)
			}
			for i, d := range decoded {
				reason := Reason("")
				if d.Err != nil {
					reason = d.Err.Reason
				}
				if d.Text != test.texts[i] || reason != test.reasons[i] {
					t.Errorf("element %d is %q (%v), wanted %q for %q", i, d.Text, d.Err, test.texts[i], test.reasons[i])
				}
			}
			if a.TenantID != test.tenantID {
				t.Errorf("an element's tenant became the message's: %q", a.TenantID)
			}
		})
	}
}

// TestDecodeUnreadableTenant: a tenant_id that can't be read fits no command.
func TestDecodeUnreadableTenant(t *testing.T) {
	for name, body := range map[string]string{
		"SNS, binary":        sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"Binary","Value":"dGVuYW50QQ=="}}`),
		"SNS, empty":         sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":""}}`),
		"SNS, no value":      sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String"}}`),
		"SNS, list":          sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String.Array","Value":"[\"tenantA\"]"}}`),
		"SNS, not an object": sns(order, `,"MessageAttributes":{"tenant_id":"tenantA"}`),
		"Pipes, binary":      pipesRecord(order, `"tenant_id":{"binaryValue":"dGVuYW50QQ==","dataType":"Binary"}`),
		"Pipes, number":      pipesRecord(order, `"tenant_id":{"stringValue":"tenantA","dataType":"Number"}`),
		"Pipes, another":     pipesRecord(order, `"tenant_id":{"stringValue":"tenantB","dataType":"String"}`),
		"an element":         "[" + sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"Binary","Value":"dGVuYW50QQ=="}}`) + "]",
	} {
		if got := firstError(Decode(types, nil, body, nil)); got == nil || got.Reason != ReasonTenantMismatch {
			t.Errorf("%s: %v", name, got)
		}
	}
	if CheckTenantID(UnreadableTenant) == nil {
		t.Error("a command can be of the tenant that stands for what can't be read")
	}
}

// TestDecodeNamesWhatItIs: the detail of a letter says what was sent, and what to do.
func TestDecodeNamesWhatItIs(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"s3:TestEvent":            {s3TestEvent, "s3:TestEvent"},
		"s3:TestEvent by SNS":     {sns(s3TestEvent, ""), "s3:TestEvent"},
		"S3 notification":         {s3Notification, "S3 event notification"},
		"confirmation":            {snsConfirmation, "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"},
		"confirmation, the time":  {snsConfirmation, "three days"},
		"a stranger's URL":        {strings.Replace(snsConfirmation, "sns.us-west-2.amazonaws.com", "sns.evil.example/x.amazonaws.com", 1), "not one of AWS's"},
		"a stranger's URL, @":     {strings.Replace(snsConfirmation, "sns.us-west-2.amazonaws.com", "sns.x@evil.example:1.amazonaws.com", 1), "not one of AWS's"},
		"the end of it":           {strings.Replace(snsConfirmation, "SubscriptionConfirmation", "UnsubscribeConfirmation", 1), "has ended"},
		"extended client":         {s3Pointer, `bucket "bucket-1", key "key-1"`},
		"extended client, before": {strings.Replace(s3Pointer, "software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer", 1), "SQS Extended Client"},
		"base64":                  {base64.StdEncoding.EncodeToString([]byte(order)), "base64 of JSON"},
		"base64, no padding":      {base64.RawURLEncoding.EncodeToString([]byte(" [" + order + "]")), "base64 of JSON"},
		"base64 in quotes":        {`"` + base64.StdEncoding.EncodeToString([]byte(order)) + `"`, "base64 of JSON"},
		"NaN":                     {amount("NaN"), "NaN, which is not a number in JSON"},
		"Infinity":                {with(user, `"attributes":{"a":[Infinity]}`), "Infinity, which is not a number in JSON"},
		"-Infinity":               {with(user, `"attributes":{"a":-Infinity}`), "-Infinity, which is not a number in JSON"},
		"version NaN":             {with(user, `"version":NaN`), "NaN, which is not a number in JSON"},
	} {
		decoded, err := Decode(types, nil, test.body, nil)
		if len(decoded) != 0 || err == nil || !strings.Contains(err.Detail, test.want) {
			t.Errorf("%s: %v, %v, wanted %q", name, decoded, err, test.want)
		}
	}
}

// TestDecodeCounts: as many commands as may be are taken, one more is the whole body's fault. (The schema's own count is
// tried with zeros, which it judges sooner.)
func TestDecodeCounts(t *testing.T) {
	most := strings.Repeat(noUser+",", MaxCommands-1) + noUser
	event := cloudEvent(`"data":[` + noUser + "," + noUser + "]")
	for _, test := range []struct {
		name, body string
		want       int // 0: refused
	}{
		{"as many as may be", "[" + most + "]", MaxCommands},
		{"one more", "[" + most + "," + noUser + "]", 0},
		{"packed", `{"commands":[` + most + "]}", MaxCommands},
		{"packed, one more", `{"commands":[` + most + "," + noUser + "]}", 0},
		{"as many as may be, the last wrapped", "[" + strings.Repeat(noUser+",", MaxCommands-2) + event + "]", MaxCommands},
		{"one more, the last wrapped", "[" + strings.Repeat(noUser+",", MaxCommands-1) + event + "]", 0},
		{"one more in SNS", sns("["+most+",0]", ""), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := []Decoded{{Text: "what was there"}}
			decoded, err := Decode(types, before, test.body, nil)
			switch {
			case len(decoded) != 1+test.want:
				t.Errorf("%d commands, want %d", len(decoded)-1, test.want)
			case test.want > 0 && firstError(decoded, err) != nil:
				t.Errorf("refused: %v", firstError(decoded, err))
			case test.want == 0 && (err == nil || err.Reason != ReasonTooLarge || !strings.Contains(err.Detail, "20000")):
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestDecodeHostile: the memory and time of a body go by its bytes, whatever is in it. The texts are of 1 MiB.
func TestDecodeHostile(t *testing.T) {
	fill := func(part string) string {
		return strings.TrimSuffix(strings.Repeat(part+",", (1<<20-100)/(len(part)+1)), ",")
	}
	names := func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(`"` + strconv.Itoa(i) + `":0,`)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	deep := func(before, after string) string {
		n := min(rawjson.MaxDepth/2-10, (1<<20-1000)/(len(before)+len(after)))
		return strings.Repeat(before, n) + order + strings.Repeat(after, n)
	}
	text64 := order
	for range maxWrappings + 2 {
		text64 = cloudEvent(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte("["+fill(text64)[:min(len(fill(text64)), 100_000)]+"]")) + `"`)
	}
	for name, body := range map[string]string{
		"zeros":               "[" + fill("0") + "]",
		"empty objects":       "[" + fill("{}") + "]",
		"empty strings":       "[" + fill(`""`) + "]",
		"unequal elements":    "[" + fill("0,1") + "]",
		"packed zeros":        `{"commands":[` + fill("0") + `]}`,
		"unknown fields":      "{" + names(1<<20) + "}",
		"one field":           "{" + fill(`"a":0`) + "}",
		"attributes":          with(user, `"attributes":{`+names(1<<20)+`}`),
		"attributes, one":     with(user, `"attributes":{`+fill(`"a":0`)+`}`),
		"attributes, zeros":   with(user, `"attributes":{"a":[`+fill("0")+`]}`),
		"attributes, bad":     with(user, `"attributes":{"a":[`+fill("1e999")+`]}`),
		"packed in packed":    deep(`{"commands":[`, `]}`),
		"packed in packed, 2": deep(`{"x":0,"commands":[`, `]}`),
		"packed in events":    deep(`{"specversion":"1.0","data":[`, `]}`),
		"records in records":  deep(`{"Records":[`, `]}`),
		"details":             deep(`{"detail-type":"","source":"","detail":`, `}`),
		"events in an array":  "[" + fill(cloudEvent(`"data":[0,0,0]`)) + "]",
		"empty events":        "[" + fill(`{"specversion":"1","data":[]}`) + "]",
		"digits":              amount(strings.Repeat("7", 1<<20)),
		"zeros of a number":   amount("0." + strings.Repeat("0", 1<<20)),
		"an exponent":         amount("1e" + strings.Repeat("9", 1<<20)),
		"a version":           with(user, `"version":"`+strings.Repeat("0", 1<<20)+`"`),
		"a tenant":            but(user, "tenantA", strings.Repeat("t", 1<<20)),
		"escapes":             but(user, "Alice", strings.Repeat(`\u0000`, 1<<20/6)),
		"base64 in base64":    text64,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, _ = Decode(types, nil, body, nil)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			allocated := after.TotalAlloc - before.TotalAlloc
			t.Logf("%v, %d KiB", took, allocated>>10)
			if allocated > 24<<20 {
				t.Errorf("it allocates %d MiB", allocated>>20)
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
		{"five wrappings by elements", "[" + cloudEvent(`"data":[`+cloudEvent(`"data":[`+cloudEvent(`"data":[`+cloudEvent(`"data":[`+cloudEvent(`"data":`+order)+`]`)+`]`)+`]`)+`]`) + "]", ReasonTooLarge},
		{"a Pipes record of another source", strings.Replace(pipesRecord(order, ""), "aws:sqs", "aws:kinesis", 1), ReasonMissingField},
		{"detail without the rest", `{"detail":` + order + `}`, ReasonMissingField},
		{"a command with a detail", with(order, `"detail":`+order), ReasonUnknownField},
		{"a command with data", with(order, `"data":`+order), ReasonUnknownField},
		{"a command with Message", with(order, `"Message":"x"`), ReasonUnknownField},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := firstError(Decode(types, nil, test.text, nil)); err == nil || err.Reason != test.reason {
				t.Errorf("error is %v, wanted %s", err, test.reason)
			}
		})
	}
}

func TestDecodeTenantAttribute(t *testing.T) {
	other := but(order, "tenantA", "tenantB")
	decoded, err := Decode(types, nil, "["+user+","+other+","+but(other, "o1", "")+"]", &Attributes{TenantID: "tenantA"})
	if err != nil || decoded[0].Err != nil || decoded[1].Err == nil || decoded[1].Err.Reason != ReasonTenantMismatch || decoded[2].Err.Reason != ReasonInvalidField {
		t.Errorf("decoded %v, %v", decoded, err)
	}
	// The message's own attribute goes before the wrapping's.
	a := Attributes{TenantID: "tenantA", TraceParent: "00-own"}
	decodeOne(t, sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":"tenantB"},"traceparent":{"Type":"String","Value":"x"}}`), &a)
	if a.TenantID != "tenantA" || a.TraceParent != "00-own" {
		t.Errorf("attributes became %+v", a)
	}
	decoded, err = Decode(types, nil, sns(order, `,"MessageAttributes":{"tenant_id":{"Type":"String","Value":"tenantB"}}`), nil)
	if got := firstError(decoded, err); got == nil || got.Reason != ReasonTenantMismatch {
		t.Errorf("a wrapped tenant_id attribute is not held against the command: %v", got)
	}
}

// TestDecodeInvalidUTF8: SQS delivers none, a file of commands may.
func TestDecodeInvalidUTF8(t *testing.T) {
	decoded, err := Decode(types, nil, "["+but(user, "Alice", "\xff")+","+with(user, "\"attributes\":{\"a\":\"\xc3\"}")+","+order+"]", nil)
	if err != nil || decoded[0].Err == nil || decoded[1].Err == nil || decoded[2].Err != nil {
		t.Errorf("decoded %v, %v", decoded, err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	body := "[" + user + "," + with(order, `"version":7,"attributes":{"a":[1,{"b":"c"}]}`) + "," + noOrd + "]"
	dst := make([]Decoded, 0, 3)
	a := Attributes{TenantID: "tenantA"}
	if n := testing.AllocsPerRun(100, func() {
		if decoded, err := Decode(types, dst, body, &a); firstError(decoded, err) != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestValidate has what Decode can't bring: commands that were made in Go.
func TestValidate(t *testing.T) {
	good := Put(orderType, "t", "o", "u", "1")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Command){
		"type":         func(c *Command) { c.Type = nil },
		"tenant_id":    func(c *Command) { c.TenantID = "" },
		"order_id":     func(c *Command) { c.ID = "\xff" },
		"user_id":      func(c *Command) { c.Values.Set(0, "") },
		"order_amount": func(c *Command) { c.Values.Set(1, "") },
		"version":      func(c *Command) { c.Version = -1 },
		"attributes":   func(c *Command) { c.Attributes = `{"a":1} x` },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || err.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]Command{
		"order_amount": Put(orderType, "t", "o", "u"),
		"user_id":      {Type: orderType, TenantID: "t", ID: "o", Delete: true, Values: good.Values},
		"attributes":   {Type: orderType, TenantID: "t", ID: "o", Delete: true, Attributes: "{}"},
	} {
		if err := c.Validate(); err == nil || err.Field != name {
			t.Errorf("without %s, or with it on a delete: %v", name, err)
		}
	}
}

// TestItemBytes: the size that Validate keeps is the one that is computed, and goes with changes that are validated.
func TestItemBytes(t *testing.T) {
	for _, b := range bodies {
		decoded, _ := Decode(types, nil, b.text, nil)
		for i := range decoded {
			c := decoded[i].Command
			if decoded[i].Err != nil {
				continue
			}
			kept := c.bytes
			c.bytes = 0
			if computed := c.ItemBytes(); int(kept) != computed {
				t.Fatalf("%s: Validate keeps %d bytes, the item takes %d", b.name, kept, computed)
			}
		}
	}
	c := Put(userType, "t", "u", "", "")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	before := c.ItemBytes()
	c.Values.Set(0, "x")
	if err := c.Validate(); err != nil || c.ItemBytes() != before+1 {
		t.Errorf("a byte more makes %d bytes of %d", c.ItemBytes(), before)
	}
}

func TestItemLimit(t *testing.T) {
	c := Put(userType, "t", "u", "", "")
	name := strings.Repeat("x", limits.DynamoDBItemBytes-c.ItemBytes())
	c.Values.Set(0, name)
	if err := c.Validate(); err != nil || c.ItemBytes() != 400<<10 {
		t.Errorf("an item of exactly 400 KB is refused: %v", err)
	}
	c.Values.Set(0, name+"x")
	if err := c.Validate(); err == nil || err.Reason != ReasonTooLarge || !strings.Contains(err.Detail, "409601") {
		t.Errorf("error is %v", err)
	}
}

func TestGroupID(t *testing.T) {
	c := Put(orderType, "tenantA", "o1", "u1")
	if got := GroupID(&c, false); got != "tenantA" {
		t.Errorf("standard: %q", got)
	}
	// FNV-1a of "order#o1" is fixed: producers in other languages compute it too.
	if got := GroupID(&c, true); got != "tenantA#28" {
		t.Errorf("FIFO: %q", got)
	}
	del := Delete(orderType, "tenantA", "o1")
	if GroupID(&del, true) != GroupID(&c, true) {
		t.Error("put and delete of one key are in two groups")
	}
	seen := map[string]bool{}
	for i := range 1000 {
		c.ID = strings.Repeat("o", i%256+1) + string(rune('a'+i/256))
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
	f.Add(sns(but(user, "Alice", "\ufffe"), ""))
	f.Add("[" + cloudEvent(`"data":`+text("["+user+",0]")) + "," + pipesRecord(eventBridge(order), "") + "]")
	f.Add(cloudEvent(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(but(user, "Alice", "\xff"))) + `"`))
	f.Fuzz(func(t *testing.T, text string) {
		decoded, err := Decode(types, nil, text, nil)
		if err != nil {
			if err.Reason == ReasonMalformed && len(text) > 0 && (text[0] == '[') && json.Valid([]byte(text)) {
				t.Fatalf("%q is JSON, refused with %v", text, err)
			}
			checkDetail(t, err)
			return
		}
		if !json.Valid([]byte(strings.TrimPrefix(text, byteOrderMark))) {
			t.Fatalf("%q is no JSON", text)
		}
		var packed []byte
		var commands []Command
		for i := range decoded {
			d := &decoded[i]
			if checkBody("", text) == nil && (checkBody("", d.Text) != nil || d.Text == "" || len(d.Text) > len(text)) {
				t.Fatalf("%q has the command %q, which can't be the body of a letter", text, d.Text)
			}
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
		again, err := Decode(types, nil, string(packed), nil)
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
		Version     any             `json:"version"`
		Attributes  json.RawMessage `json:"attributes"`
	}
	decoder := json.NewDecoder(strings.NewReader(d.Text))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&std); err != nil {
		t.Fatalf("%q: encoding/json says %v", d.Text, err)
	}
	of, remove := types.Command(std.Type)
	want := Command{Type: of, TenantID: std.TenantID, Attributes: string(std.Attributes), Version: d.Command.Version, Delete: remove}
	amount := ""
	switch v := std.OrderAmount.(type) {
	case string:
		amount = v
	case json.Number:
		amount = string(v)
	}
	if want.ID = std.UserID; of == orderType {
		want.ID = std.OrderID
	}
	if !remove && of == userType {
		want.Values.Set(0, std.UserName)
		want.Values.Set(1, std.UserEmail)
	} else if !remove {
		want.Values.Set(0, std.UserID)
		want.Values.Set(1, amount)
	}
	if want.Attributes == "null" {
		want.Attributes = ""
	}
	want.bytes = d.Command.bytes
	version := ""
	switch v := std.Version.(type) {
	case string:
		version = v
	case json.Number:
		version = string(v)
	}
	if !reflect.DeepEqual(d.Command, want) || (version != "") != (want.Version != 0) {
		t.Fatalf("%q reads as %+v, encoding/json has %+v", d.Text, d.Command, want)
	}
	if n, err := strconv.ParseInt(version, 10, 64); err == nil && n != want.Version {
		t.Fatalf("%q has version %d", d.Text, want.Version)
	}
}
