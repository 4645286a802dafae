package table

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/aws/limits"
	"tributary/internal/base/decimal"
	"tributary/internal/base/rawjson"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/test/support/commands"
	"tributary/test/support/ddbjson"
)

const (
	userText  = `{"type":"put_user","tenant_id":"tenantA","user_id":"u1","user_name":"Alice \"A\"\n","user_email":"","version":9223372036854775807,"attributes":{"plan":"gold"}}`
	orderText = `{"type":"put_order","tenant_id":"tenantA","order_id":"o1","user_id":"u1","order_amount":"150.00","attributes":` +
		`{"s":"a\u00e9\"\n\ud83d\ude00","n":-1.50e3,"big":12345678901234567890123456789012345678,"zeros":100.0000000000000000000000000000000000000000,` +
		`"l":[1,[],{},null,true,false],"m":{"x":{"y":""}}}}`
	deleteText = `{"type":"delete_order","tenant_id":"tenantA","order_id":"o\"1","version":8}`
)

var declared = commands.Types

func command(t testing.TB, text string) *messages.Command {
	t.Helper()
	decoded, err := messages.Decode(declared, nil, text, nil)
	if err != nil || len(decoded) != 1 || decoded[0].Err != nil {
		t.Fatalf("%s decodes to %v, %v", text, decoded, err)
	}
	return &decoded[0].Command
}

// fromJSON reads an item from DynamoDB's JSON, independently of the code that wrote it.
func fromJSON(t testing.TB, text []byte) Attributes {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatalf("%s is no JSON: %v", text, err)
	}
	item := Attributes{}
	for name, v := range raw {
		item[name] = valueFromJSON(t, v)
	}
	return item
}

func valueFromJSON(t testing.TB, text json.RawMessage) types.AttributeValue {
	t.Helper()
	var v struct {
		S, N       *string
		BOOL, NULL *bool
		M          map[string]json.RawMessage
		L          []json.RawMessage
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	switch {
	case v.S != nil:
		return &types.AttributeValueMemberS{Value: *v.S}
	case v.N != nil:
		return &types.AttributeValueMemberN{Value: *v.N}
	case v.BOOL != nil:
		return &types.AttributeValueMemberBOOL{Value: *v.BOOL}
	case v.NULL != nil:
		return &types.AttributeValueMemberNULL{Value: *v.NULL}
	case v.M != nil:
		m := Attributes{}
		for name, member := range v.M {
			m[name] = valueFromJSON(t, member)
		}
		return &types.AttributeValueMemberM{Value: m}
	}
	l := []types.AttributeValue{}
	for _, element := range v.L {
		l = append(l, valueFromJSON(t, element))
	}
	return &types.AttributeValueMemberL{Value: l}
}

func TestItemLayout(t *testing.T) {
	got := string(AppendItem(nil, command(t, `{"type":"put_user","tenant_id":"tenantA","user_id":"u1","user_name":"Alice","user_email":"a@b","version":7}`)))
	want := `{"PK":{"S":"tenant#tenantA"},"SK":{"S":"user#u1"},"user_id":{"S":"u1"},"user_name":{"S":"Alice"},"user_email":{"S":"a@b"},"version":{"N":"7"}}`
	if got != want {
		t.Errorf("user is\n%s, want\n%s", got, want)
	}
	got = string(AppendItem(nil, command(t, `{"type":"put_order","tenant_id":"tenantA","order_id":"o1","user_id":"u1","order_amount":1e2,"attributes":{"a":[1]}}`)))
	want = `{"PK":{"S":"tenant#tenantA"},"SK":{"S":"order#o1"},"order_id":{"S":"o1"},"user_id":{"S":"u1"},"order_amount":{"N":"100"},"attributes":{"M":{"a":{"L":[{"N":"1"}]}}}}`
	if got != want {
		t.Errorf("order is\n%s, want\n%s", got, want)
	}
	got = string(AppendTombstone(nil, command(t, deleteText), time.Unix(1800000000, 5)))
	want = `{"PK":{"S":"tenant#tenantA"},"SK":{"S":"order#o\"1"},"version":{"N":"8"},"deleted":{"BOOL":true},"expires_at":{"N":"1800000000"}}`
	if got != want {
		t.Errorf("tombstone is\n%s, want\n%s", got, want)
	}
}

// checkCommand holds the two ways to DynamoDB, and the size, against one another.
func checkCommand(t testing.TB, c *messages.Command) {
	t.Helper()
	key := KeyOf(c)
	if got := fromJSON(t, AppendKey([]byte(" "), key)); !reflect.DeepEqual(got, KeyAttributes(key)) {
		t.Errorf("AppendKey and KeyAttributes of %v differ", key)
	}
	if parsed, err := ParseKey(declared, key.PK(), key.SK()); err != nil || parsed != key {
		t.Errorf("%v parses as %v, %v", key, parsed, err)
	}
	if c.Delete {
		at := time.Unix(1800000000, 0)
		got, want := fromJSON(t, AppendTombstone(nil, c, at)), Tombstone(c, at)
		if !reflect.DeepEqual(got, want) || !IsTombstone(got) {
			t.Errorf("AppendTombstone %v and Tombstone %v differ", got, want)
		}
		return
	}
	got, want := fromJSON(t, AppendItem([]byte(" "), c)), Item(c)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("AppendItem %v and Item %v differ", got, want)
	}
	if size := itemSize(want); Size(c) != size {
		t.Errorf("Size is %d, the item's attributes are %d: %v", Size(c), size, want)
	}
	if IsTombstone(want) {
		t.Error("an item is taken for a tombstone")
	}
	roundTrip(t, c, want)
}

// shown is an item as the query API shows it.
type shown struct {
	TenantID    string          `json:"tenant_id"`
	UserID      string          `json:"user_id"`
	UserName    string          `json:"user_name"`
	UserEmail   string          `json:"user_email"`
	OrderID     string          `json:"order_id"`
	OrderAmount string          `json:"order_amount"`
	Version     int64           `json:"version"`
	Attributes  json.RawMessage `json:"attributes"`
}

// show reads an item back, by way of DynamoDB's JSON.
func show(t testing.TB, item Attributes) (_ shown, text string, unreadable []string, _ error) {
	t.Helper()
	s := rawjson.New(ddbjson.Item(item))
	stored := NewStored(declared)
	stored.values["left"] = "over"
	stored.Read(&s)
	if err := s.End(); err != nil {
		t.Fatalf("%v: %v", item, err)
	}
	key, err := stored.Key()
	if err != nil {
		return shown{}, "", nil, err
	}
	out, unreadable := stored.AppendShown(nil, key)
	var v shown
	d := json.NewDecoder(strings.NewReader(string(out)))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return v, string(out), unreadable, nil
}

// roundTrip reads an item back: equal but for the form of numbers and of attributes.
func roundTrip(t testing.TB, c *messages.Command, item Attributes) {
	t.Helper()
	v, _, unreadable, err := show(t, item)
	if err != nil || len(unreadable) > 0 {
		t.Fatal(unreadable, err)
	}
	back := commands.PutUser(v.TenantID, v.UserID, v.UserName, v.UserEmail)
	if c.Type == commands.Order {
		back = commands.PutOrder(v.TenantID, v.OrderID, v.UserID, v.OrderAmount)
	}
	back.Version, back.Attributes = v.Version, string(v.Attributes)
	if err := back.Validate(); err != nil {
		t.Fatalf("%+v was read back as %+v: %v", c, back, err)
	}
	want := *c
	if want.Type == commands.Order {
		plain, _ := decimal.AppendPlain(nil, c.Get("order_amount"))
		want.Values.Set(1, string(plain))
	}
	if c.Attributes != "" { // once read, attributes stay as they are
		carrier := commands.PutUser("t", "u", "", "")
		carrier.Attributes = back.Attributes
		again, _, _, err := show(t, Item(&carrier))
		if err != nil || string(again.Attributes) != back.Attributes {
			t.Errorf("attributes %s became %s", back.Attributes, again.Attributes)
		}
		want.Attributes = back.Attributes
	}
	if back != want {
		t.Errorf("%+v was read back as %+v", want, back)
	}
	if Size(&back) != Size(c) {
		t.Errorf("%+v takes %d bytes, read back %d", c, Size(c), Size(&back))
	}
}

// itemSize counts an item as "DynamoDB item sizes and formats" says, from the SDK's types.
func itemSize(item Attributes) int {
	size := 0
	for name, v := range item {
		size += len(name) + valueSize(v)
	}
	return size
}

func valueSize(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		n, _ := decimal.Parse(v.Value) // decimal's tests show that its sizes are DynamoDB's
		return n.Bytes()
	case *types.AttributeValueMemberM:
		return 3 + len(v.Value) + itemSize(v.Value)
	case *types.AttributeValueMemberL:
		size := 3
		for _, element := range v.Value {
			size += 1 + valueSize(element)
		}
		return size
	}
	return 1 // BOOL, NULL
}

func TestCommands(t *testing.T) {
	for _, text := range []string{userText, orderText, deleteText,
		`{"type":"delete_user","tenant_id":"t","user_id":"ü \\"}`,
		`{"type":"put_order","tenant_id":"t","order_id":"o","user_id":"u","order_amount":"-0001.50E-7","version":100}`,
	} {
		checkCommand(t, command(t, text))
	}
}

func FuzzCommands(f *testing.F) {
	for _, text := range []string{userText, orderText, deleteText} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		decoded, _ := messages.Decode(declared, nil, text, nil)
		for i := range decoded {
			if decoded[i].Err == nil {
				checkCommand(t, &decoded[i].Command)
			}
		}
	})
}

func TestSizeOfKnownItems(t *testing.T) {
	c := command(t, `{"type":"put_user","tenant_id":"tenantA","user_id":"u1","user_name":"Ålice","user_email":"a@b"}`)
	// PK 2+14, SK 2+7, user_id 7+2, user_name 9+6, user_email 10+3
	if got := Size(c); got != 62 {
		t.Errorf("size is %d", got)
	}
	c = command(t, `{"type":"put_order","tenant_id":"t","order_id":"o","user_id":"u","order_amount":"12.5","version":7,"attributes":{"a":[true,"xy"]}}`)
	// PK 2+8, SK 2+7, order_id 8+1, user_id 7+1, order_amount 12+3, version 7+2, attributes 10+3, a 1+1+3, true 1+1, xy 1+2
	if got := Size(c); got != 10+9+9+8+15+9+13+5+2+3 {
		t.Errorf("size is %d", got)
	}
}

// TestKeysFit: the longest ids that the contract allows stay within DynamoDB's limits.
func TestKeysFit(t *testing.T) {
	k := Key{strings.Repeat("t", messages.MaxTenantIDBytes), commands.Order, strings.Repeat("o", schema.MaxIDBytes)}
	if len(k.PK()) > limits.DynamoDBPartitionKeyBytes || len(k.SK()) > limits.DynamoDBSortKeyBytes {
		t.Errorf("keys take %d and %d bytes", len(k.PK()), len(k.SK()))
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, keys := range [][2]string{{"tenant#", "user#u"}, {"tenantA", "user#u"}, {"tenant#t", "user#"}, {"tenant#t", "invoice#1"}, {"tenant#t", ""}, {"", ""}} {
		if k, err := ParseKey(declared, keys[0], keys[1]); err == nil {
			t.Errorf("%q parses as %v", keys, k)
		}
	}
	if k, err := ParseKey(declared, "tenant#t", "order#a#b"); err != nil || k != (Key{"t", commands.Order, "a#b"}) {
		t.Errorf("an item of others is %v, %v", k, err)
	}
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

// TestReadSeedItems: the seed's add_user and add_order write these.
func TestReadSeedItems(t *testing.T) {
	_, text, _, err := show(t, Attributes{"PK": s("tenant#tenantA"), "SK": s("user#7f0c"), "user_id": s("7f0c"), "user_name": s("Alice"), "user_email": s("alice@example.com")})
	if want := `{"tenant_id":"tenantA","user_id":"7f0c","user_name":"Alice","user_email":"alice@example.com"}`; err != nil || text != want {
		t.Errorf("user is %s, %v", text, err)
	}
	_, text, _, err = show(t, Attributes{"PK": s("tenant#tenantA"), "SK": s("order#91ab"), "user_id": s("7f0c"), "order_amount": n("150.00")})
	if want := `{"tenant_id":"tenantA","order_id":"91ab","user_id":"7f0c","order_amount":"150"}`; err != nil || text != want {
		t.Errorf("order is %s, %v", text, err)
	}
}

// TestReadOddItems: an attribute that can't be read hides nothing but itself.
func TestReadOddItems(t *testing.T) {
	key := Attributes{"PK": s("tenant#t"), "SK": s("user#u")}
	for name, c := range map[string]struct {
		item       Attributes
		want       string
		unreadable []string
	}{
		"other types of text": {Attributes{"user_id": s("another"), "user_name": n("1E2"), "user_email": &types.AttributeValueMemberNULL{Value: true}},
			`{"tenant_id":"t","user_id":"u","user_name":"100","user_email":""}`, nil},
		"foreign attributes": {Attributes{"x": &types.AttributeValueMemberL{}, "user_name": s("n")},
			`{"tenant_id":"t","user_id":"u","user_name":"n","user_email":""}`, nil},
		"name is a list": {Attributes{"user_name": &types.AttributeValueMemberL{}, "user_email": s("e")},
			`{"tenant_id":"t","user_id":"u","user_name":"","user_email":"e"}`, []string{"user_name"}},
		"version is a half":    {Attributes{"version": n("0.5")}, `{"tenant_id":"t","user_id":"u","user_name":"","user_email":""}`, []string{"version"}},
		"version is too large": {Attributes{"version": n("1E30")}, `{"tenant_id":"t","user_id":"u","user_name":"","user_email":""}`, []string{"version"}},
		"all of another type": {Attributes{"version": s("1"), "attributes": s("x")},
			`{"tenant_id":"t","user_id":"u","user_name":"","user_email":""}`, []string{"version", "attributes"}},
	} {
		maps.Copy(c.item, key)
		if _, text, unreadable, err := show(t, c.item); err != nil || text != c.want || !slices.Equal(unreadable, c.unreadable) {
			t.Errorf("%s reads as %s, unreadable %v, %v", name, text, unreadable, err)
		}
	}
	for name, item := range map[string]Attributes{
		"no key":        {"user_id": s("u")},
		"binary key":    {"PK": &types.AttributeValueMemberB{Value: []byte("tenant#t")}, "SK": s("user#u")},
		"another thing": {"PK": s("tenant#t"), "SK": s("invoice#1")},
		"no id":         {"PK": s("tenant#t"), "SK": s("user#")},
	} {
		if _, text, _, err := show(t, item); err == nil {
			t.Errorf("%s reads as %s", name, text)
		}
	}
}

func TestIsTombstone(t *testing.T) {
	c := command(t, deleteText)
	for name, is := range map[string]struct {
		item Attributes
		want bool
	}{
		"a tombstone": {Tombstone(c, time.Unix(1, 0)), true},
		"false":       {Attributes{"deleted": &types.AttributeValueMemberBOOL{Value: false}}, false},
		"a string":    {Attributes{"deleted": s("true")}, false},
		"absent":      {Attributes{"PK": s("x")}, false},
	} {
		scan := rawjson.New(ddbjson.Item(is.item))
		stored := NewStored(declared)
		stored.Read(&scan)
		if stored.IsTombstone() != is.want || IsTombstone(is.item) != is.want {
			t.Errorf("%s is taken for something else", name)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	scan := rawjson.New(ddbjson.Item(Attributes{"v": &types.AttributeValueMemberM{Value: Attributes{
		"z": n("1.50"), "a\"": s("x\n"), "b": &types.AttributeValueMemberB{Value: []byte{0xff, 0}}, "nul": &types.AttributeValueMemberNULL{Value: true},
		"ss": &types.AttributeValueMemberSS{Value: []string{"p", "q"}}, "ns": &types.AttributeValueMemberNS{Value: []string{"1e1", "2"}},
		"bs": &types.AttributeValueMemberBS{Value: [][]byte{{1}}}, "l": &types.AttributeValueMemberL{Value: []types.AttributeValue{n("12345678901234567890123456789012345678"), &types.AttributeValueMemberBOOL{Value: true}}},
		"e": &types.AttributeValueMemberM{}, "e2": &types.AttributeValueMemberL{}, "big": n("1E+125"), "small": n("-1.5E-3"),
	}}}))
	scan.Open('{')
	scan.More('}')
	scan.Name()
	got := AppendJSON(nil, &scan)
	scan.More('}')
	want := `{"a\"":"x\u000a","b":"/wA=","big":1E+125,"bs":["AQ=="],"e":{},"e2":[],"l":[12345678901234567890123456789012345678,true],"ns":[10,2],"nul":null,"small":-0.0015,"ss":["p","q"],"z":1.5}`
	if err := scan.End(); err != nil || string(got) != want || !json.Valid(got) {
		t.Errorf("got  %s\nwant %s, %v", got, want, err)
	}
	// Members in whatever order they come.
	scan = rawjson.New(`{"M":{"b":{"M":{"d":{"N":"1"},"c":{"S":"\/"}}},"a":{"BOOL":false}}}`)
	if got := AppendJSON(nil, &scan); string(got) != `{"a":false,"b":{"c":"/","d":1}}` || scan.End() != nil {
		t.Errorf("got %s, %v", got, scan.Err())
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	c := command(t, strings.TrimSuffix(benchText, "}")+`,"version":7,"attributes":{"a":[1,{"b":"c"}]}}`)
	d := command(t, deleteText)
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		AppendItem(dst, c)
		AppendKey(dst, KeyOf(c))
		AppendTombstone(dst, d, time.Unix(1, 0))
		Size(c)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func reportCommands(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

const benchText = `{"type":"put_order","tenant_id":"tenant-0042","order_id":"0192f0a1-7c3e-7000-8000-000000000042","user_id":"0192f0a1-7c3e-7111-8111-000000000007","order_amount":"149.99"}`

func BenchmarkAppendItem(b *testing.B) {
	c := command(b, benchText)
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = AppendItem(dst[:0], c)
	}
	reportCommands(b)
}

func BenchmarkItem(b *testing.B) {
	c := command(b, benchText)
	b.ReportAllocs()
	for b.Loop() {
		Item(c)
	}
	reportCommands(b)
}

func BenchmarkSize(b *testing.B) {
	c := command(b, benchText)
	b.ReportAllocs()
	for b.Loop() {
		Size(c)
	}
	reportCommands(b)
}

func BenchmarkKeyOf(b *testing.B) {
	c := command(b, benchText)
	b.ReportAllocs()
	seen := map[Key]int{}
	for b.Loop() {
		seen[KeyOf(c)]++
	}
	reportCommands(b)
}
