package importer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"tributary/internal/send/ids"
	"tributary/internal/send/publish"
	"tributary/test/faults"
	"tributary/test/support/sqstest"
)

// Files as people have them. Each of these rows was lost once, or became another.

var (
	deleteUser = Mapping{Command: "delete_user", Tenant: "t"}
	order      = Mapping{Command: "put_order", Tenant: "t"}
	user       = Mapping{Command: "put_user", Tenant: "t"}
)

// userIDs are the ids of the users that a queue's commands are of.
func userIDs(q *sqstest.Queue) []string {
	var list []string
	for _, m := range q.Messages() {
		for _, c := range m.Commands() {
			list = append(list, c.Get("user_id"))
		}
	}
	slices.Sort(list)
	return list
}

func orderIDs(q *sqstest.Queue) []string {
	var list []string
	for _, m := range q.Messages() {
		for _, c := range m.Commands() {
			list = append(list, c.Get("order_id"))
		}
	}
	slices.Sort(list)
	return list
}

func TestRowsOfFieldFiles(t *testing.T) {
	const head = "order_id,user_id,order_amount,note\n"
	for name, test := range map[string]struct {
		file, content string
		mapping       Mapping
		sent          string // ids
		rejected      int64
	}{
		"CR ends lines":                   {"f.csv", strings.ReplaceAll(head+"o1,u1,5,x\no2,u2,6,y\n", "\n", "\r"), order, "[o1 o2]", 0},
		"CR, no end":                      {"f.csv", strings.ReplaceAll(head+"o1,u1,5,x\no2,u2,6,y", "\n", "\r"), order, "[o1 o2]", 0},
		"CR first, then LF":               {"f.csv", strings.ReplaceAll(head+"o1,u1,5,x\n", "\n", "\r") + "o2,u2,6,y\r\no3,u3,6,z\n", order, "[o1 o2 o3]", 0},
		"CR within quotes only":           {"f.csv", "order_id,user_id,order_amount,\"a\rb\"\no1,u1,5,\"x\ry\"\n", order, "[o1]", 0},
		"CR in JSON":                      {"f.jsonl", "{\"user_id\":\"u1\"}\r{\"user_id\":\"u2\"}\r", deleteUser, "[u1 u2]", 0},
		"TSV has no quotes":               {"f.tsv", strings.ReplaceAll(head+"o3,u3,7,\"open\no4,u4,8,plain\no5,u5,9,close\"\no6,u6,1,27\" monitor\no7,u7,1,\"Best\" buy\n", ",", "\t"), order, "[o3 o4 o5 o6 o7]", 0},
		"quotes swallow a row":            {"f.csv", head + "o3,u3,7,\"open\no4,u4,8,plain\no5,u5,9,close\"\no6,u6,1,x\n", order, "[o6]", 1},
		"quotes swallow the last":         {"f.csv", head + "o3,u3,7,\"open\no4,u4,8,close\"\n", order, "[]", 1},
		"lines of text in quotes":         {"f.csv", head + "o3,u3,7,\"a, b, c, d\ne, f, g, h\ni\"\n", order, "[o3]", 0},
		"the header again":                {"f.csv", head + "o1,u1,5,x\n" + head + "o2,u2,6,y\n", order, "[o1 o2]", 0},
		"the header again, marked":        {"f.csv", "\xef\xbb\xbf" + head + "o1,u1,5,x\n\xef\xbb\xbf" + head + "o2,u2,6,y\n", order, "[o1 o2]", 0},
		"a mark before a row":             {"f.jsonl", "{\"user_id\":\"u1\"}\n\xef\xbb\xbf{\"user_id\":\"u2\"}\n", deleteUser, "[u1 u2]", 0},
		"delimiters alone":                {"f.csv", head + "o1,u1,5,x\n,,,\n,,,,,\n\"\",,,\n", order, "[o1]", 0},
		"one after another":               {"f.json", `{"user_id":"u1"}{"user_id":"u2"} {"user_id":"u3"}` + "\n" + `{"user_id":"u4"}`, deleteUser, "[u1 u2 u3 u4]", 0},
		"one after another, one broken":   {"f.json", `{"user_id":"u1"}{"user_id":u2}{"user_id":"u3"}{"user_id":` + "\n" + `{"user_id":"u4"}`, deleteUser, "[u1 u3 u4]", 2},
		"one after another, braces":       {"f.json", `{"user_id":"u}{1"}{"user_id":"\"{"}{"user_id":"u2"}`, deleteUser, `["{ u2 u}{1]`, 0},
		"commands one after another":      {"f.json", `{"type":"delete_user","tenant_id":"t","user_id":"u1"}{"type":"delete_user","tenant_id":"t","user_id":"u2"}`, Mapping{}, "[u1 u2]", 0},
		"an array":                        {"f.json", "[\n{\"user_id\":\"u1\"},\n{\"user_id\":\"u2\"}\n]\n", deleteUser, "[u1 u2]", 0},
		"an array on a line":              {"f.json", `[{"user_id":"u1"},{"user_id":"u2"}]`, deleteUser, "[u1 u2]", 0},
		"an array without a name":         {"f", ` [ {"user_id":"u1"},{"user_id":"u2"}]`, deleteUser, "[u1 u2]", 0},
		"an indented array":               {"f.json", "[\n  {\n    \"user_id\": \"u1\",\n    \"x\": {\"user_id\": \"no\"}\n  },\n  {\n    \"user_id\": \"u2\"\n  },\n]", deleteUser, "[u1 u2]", 0},
		"an array of other things":        {"f.json", "[\n1, \"x]\", null, {\"user_id\":\"u1\"}, [], true]", deleteUser, "[u1]", 5},
		"arrays":                          {"f.json", "[\n]\n[{\"user_id\":\"u1\"}][{\"user_id\":\"u2\"}]\n\xef\xbb\xbf[{\"user_id\":\"u3\"}]", deleteUser, "[u1 u2 u3]", 0},
		"an array of commands":            {"f.json", "[{\"type\":\"delete_user\",\"tenant_id\":\"t\",\"user_id\":\"u1\"},\n{\"type\":\"delete_user\",\"tenant_id\":\"t\",\"user_id\":\"u2\"}\n]", Mapping{}, "[u1 u2]", 0},
		"indented objects":                {"f.json", "{\n  \"user_id\":\n {\"user_id\":\"no\"}\n}\n{\n  \"user_id\": \"u1\"\n}\n", deleteUser, "[u1]", 1},
		"versions as numbers are written": {"f.csv", "user_id,version\nu1,3.0\nu2,1e3\nu3,\nu4,1.5\n", deleteUser, "[u1 u2 u3]", 1},
		"versions in JSON":                {"f.jsonl", "{\"user_id\":\"u1\",\"version\":3.0}\n{\"user_id\":\"u2\",\"version\":\"7\"}\n{\"user_id\":\"u3\",\"version\":null}\n", deleteUser, "[u1 u2 u3]", 0},
	} {
		q, result, rejected, err := importText(t, test.file, test.content, test.mapping)
		got := fmt.Sprint(userIDs(q))
		if test.mapping.Command == "put_order" {
			got = fmt.Sprint(orderIDs(q))
		}
		if err != nil || got != test.sent || result.Rejected != test.rejected || result.Rows != result.Commands+result.Rejected {
			t.Errorf("%s: %v, sent %s, want %s, %+v, rejected %s", name, err, got, test.sent, result.Counts, rejected)
		}
	}
}

func TestQuotes(t *testing.T) {
	tabs := strings.ReplaceAll("order_id,user_id,order_amount,note\no1,u1,1,\"a\nb\"\no2,u2,1,'a\tb'\n", ",", "\t")
	swallow := "order_id,user_id,order_amount,note\no1,u1,1,\"a\no2,u2,1,b\"\n"
	for name, test := range map[string]struct {
		file, content string
		quote         Quote
		sent          string
		rejected      int64
	}{
		"none":                   {"f.csv", swallow, QuoteNone, "[o1 o2]", 0},
		"double, as was asked":   {"f.csv", swallow, QuoteDouble, "[o1]", 0},
		"double, of tabs":        {"f.tsv", tabs, QuoteDouble, "[o1]", 1},
		"single, of tabs":        {"f.tsv", tabs, QuoteSingle, "[o1 o2]", 1},
		"single, a bare one":     {"f.csv", "order_id,user_id,order_amount,note\no1,u1,1,'it''s'\no2,u1,1,it's\n", QuoteSingle, "[o1]", 1},
		"none, by the file name": {"f.tab", tabs, QuoteAuto, "[o1]", 2},
	} {
		q, result, rejected, err := importText(t, test.file, test.content, order, func(o *Options) { o.Quote = test.quote })
		if got := fmt.Sprint(orderIDs(q)); err != nil || got != test.sent || result.Rejected != test.rejected {
			t.Errorf("%s: %v, sent %s, want %s, rejected %s", name, err, got, test.sent, rejected)
		}
	}
}

// What is passed over is counted, so that the lines of a file add up.
func TestPassedOverRowsAreCounted(t *testing.T) {
	const head = "user_name,user_email\n"
	q, result, _, err := importText(t, "f.csv", head+"A,a@x\n,\n"+head+"B,b@x\n,\n,\n", with(user, func(m *Mapping) { m.IDs = ids.UUIDv7 }))
	if err != nil || len(commands(q)) != 2 || result.Rows != 2 || result.BlankRows != 3 || result.RepeatedHeaders != 1 {
		t.Errorf("%v, %+v, sent %q", err, result.Counts, commands(q))
	}
}

func TestRepeatedKeysAreCounted(t *testing.T) {
	folder := t.TempDir()
	var names []string
	for i, text := range []string{"o1\no2\no1\no1\nbad#\nbad#\n", "o2\no3\n"} {
		name := filepath.Join(folder, fmt.Sprint(i, ".csv"))
		rows := strings.ReplaceAll(text, "\n", ",u1,1\n")
		if err := os.WriteFile(name, []byte("order_id,user_id,order_amount\n"+rows), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	result, err := Files(t.Context(), names, to(&sqstest.Queue{}, order))
	if err != nil || result.Rows != 8 || result.Rejected != 2 || result.RepeatedKeys != 3 {
		t.Errorf("%v, %+v", err, result.Counts)
	}
}

func TestKeySet(t *testing.T) {
	var s keySet
	hash := func(i uint64) uint64 { return i<<32 | i%keySlots }
	for i := range uint64(maxKeys) {
		if s.add(hash(i + 1)) {
			t.Fatalf("%d is there already", i)
		}
	}
	for _, i := range []uint64{1, 77_777, maxKeys} {
		if !s.add(hash(i)) {
			t.Errorf("%d is not there", i)
		}
	}
	// It is full, and stays as large as it is.
	for range 2 {
		if s.add(hash(maxKeys + 1)); s.used != maxKeys || len(s.slots) != keySlots {
			t.Errorf("%d keys in %d slots", s.used, len(s.slots))
		}
	}
}

// A spreadsheet that has rounded ids makes one item of many rows.
func TestRoundedIDsAreHintedAt(t *testing.T) {
	var warned []string
	_, _, _, err := importText(t, "f.csv", "user_id\nu1\n1E3x\n1.23457E+12\n1.23457E+12\n", deleteUser, func(o *Options) {
		o.Warn = func(line string) { warned = append(warned, line) }
	})
	if err != nil || len(warned) != 1 || !strings.Contains(warned[0], "f.csv:4: the id 1.23457E+12") {
		t.Errorf("%v, %q", err, warned)
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	_, _ = g.Write([]byte(text))
	_ = g.Close()
	return b.String()
}

// Zeros behind compressed data are its end. Other bytes are an error, but everything before them is sent once: there is
// nothing to resume.
func TestBytesBehindCompressedData(t *testing.T) {
	text := "user_id\n" + strings.Repeat("u1\n", 3000)
	var frame bytes.Buffer
	z, _ := zstd.NewWriter(&frame)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	zeros := strings.Repeat("\x00", 512)
	for name, test := range map[string]struct {
		content string
		rows    int
		fails   bool
	}{
		"f.csv.gz":  {gzipped(text), 3000, false},
		"g.csv.gz":  {gzipped(text) + zeros, 3000, false},
		"h.csv.gz":  {gzipped(text) + gzipped("u2\n") + zeros + zeros, 3001, false},
		"i.csv.gz":  {gzipped(text) + "garbage", 3000, true},
		"j.csv.gz":  {gzipped(text) + zeros + "x", 3000, true},
		"k.csv.gz":  {gzipped(text) + "\x1f", 3000, true},
		"l.csv.zst": {frame.String() + "garbage", 3000, true},
		"m.csv.zst": {frame.String() + frame.String(), 6000, false},
	} {
		path := write(t, name, test.content)
		other := write(t, "other.csv", "user_id\nlast\n")
		q := &sqstest.Queue{}
		o := to(q, deleteUser)
		o.Publish = publish.Config{PackCommands: 10, Concurrency: 1}
		result, err := Files(t.Context(), []string{path, other}, o)
		file, isFile := errors.AsType[*FileError](err)
		if (err != nil) != test.fails || test.fails && (!isFile || file.File != path) || result.Resumable {
			t.Errorf("%s: %v, resumable %v", name, err, result.Resumable)
		}
		if got := userIDs(q); len(got) != test.rows+1 || got[0] != "last" {
			t.Errorf("%s: %d commands, want %d", name, len(got), test.rows+1)
		}
		if _, err := os.Stat(CheckpointPath(path)); !os.IsNotExist(err) {
			t.Errorf("%s: a checkpoint is left: %v", name, err)
		}
	}
}

// A file of rejected rows, mended, can be imported with the flags of the import that it comes from.
func TestRejectedRowsGoBackIn(t *testing.T) {
	for name, test := range map[string]struct {
		file, content string
		mapping       Mapping
		old, new      string // what is mended
		sent          string
	}{
		"objects":             {"f.jsonl", `{"user_id":"u#1","x":{"a":[1.0]}}`, deleteUser, `"u#1"`, `"u1"`, "[u1]"},
		"commands":            {"f.jsonl", `{"type":"delete_user","tenant_id":"t","user_id":"u#1"}`, Mapping{}, `"u#1"`, `"u1"`, "[u1]"},
		"an array":            {"f.jsonl", `[{"type":"delete_user","tenant_id":"t","user_id":"u1"},{"type":"delete_user","tenant_id":"t","user_id":"u#2"}]`, Mapping{}, `"u#2"`, `"u2"`, "[u1 u2]"},
		"broken JSON":         {"f.jsonl", `{"user_id":"u1"`, deleteUser, `\"u1\"`, `\"u1\"}`, "[u1]"},
		"an indented element": {"f.json", "[\n{\n\"user_id\": \"u#1\"\n}\n]", deleteUser, `"u#1"`, `"u1"`, "[u1]"},
		"CSV":                 {"f.csv", "user_id,n\nu#1,\"a\nb\"\n", deleteUser, "u#1,", "u1,", "[u1]"},
		"tabs":                {"f.tsv", "user_id\tn\nu#1\t\"a\n", deleteUser, "u#1\t", "u1\t", "[u1]"},
		"bars":                {"f.tbl", "user_id|n|\nu#1|a|\n", deleteUser, "u#1|", "u1|", "[u1]"},
		"single quotes":       {"f.csv", "user_id,n\nu#1,'a\nb'\n", deleteUser, "u#1,", "u1,", "[u1]"},
	} {
		change := func(o *Options) {
			if name == "single quotes" {
				o.Quote = QuoteSingle
			}
		}
		_, result, rejected, err := importText(t, test.file, test.content, test.mapping, change)
		if err != nil || result.Rejected != 1 {
			t.Fatalf("%s: %v, %+v", name, err, result.Counts)
		}
		again := filepath.Base(result.Rejects[0])
		q, result, rejected, err := importText(t, again, strings.Replace(rejected, test.old, test.new, 1), test.mapping, change)
		if got := fmt.Sprint(userIDs(q)); err != nil || got != test.sent || result.Rejected != 0 {
			t.Errorf("%s: %v, sent %s, want %s, rejected again %s", name, err, got, test.sent, rejected)
		}
	}
}

// A row that is rejected twice is kept once, without what the first file of rejected rows said.
func TestRejectedTwice(t *testing.T) {
	_, _, first, _ := importText(t, "f.jsonl", `{"user_id":"u#1"}`, deleteUser)
	_, _, second, err := importText(t, "f.jsonl.rejected.jsonl", first, deleteUser)
	if err != nil || second != first {
		t.Errorf("%v, first %s, then %s", err, first, second)
	}
}

// A file that is read as a whole ends where it is not JSON: nothing behind is taken for a row, and mended it is gone on
// with.
func TestBrokenArrayStopsTheImport(t *testing.T) {
	for name, content := range map[string]string{
		"no comma":           "[\n{\"user_id\":\"u1\"}\n{\"user_id\":\"u2\"}]",
		"a bare word":        "[\n{\"user_id\":\"u1\"},\n{\"user_id\":no, \"x\":\n{\"user_id\":\"u2\"}}]",
		"a string open":      "[\n{\"user_id\":\"u1\"},\n{\"user_id\":\"u2},\n{\"user_id\":\"u3\"}]",
		"an element open":    "[\n{\"user_id\":\"u1\"},\n{\"user_id\":\"u2\",\n{\"user_id\":\"u3\"}]",
		"the array open":     "[\n{\"user_id\":\"u1\"}\n",
		"a colon":            "[\n{\"user_id\":\"u1\"},:]",
		"a NUL":              "[\n{\"user_id\":\"u1\"},\x00]",
		"a long element":     "[\n{\"user_id\":\"u1\"},{\"x\":\"" + strings.Repeat("y", MaxRowBytes) + "\"}]",
		"another array open": "[\n{\"user_id\":\"u1\"}][",
	} {
		q, result, _, err := importText(t, "f.json", content, deleteUser)
		file, ok := errors.AsType[*FileError](err)
		if !ok || !strings.Contains(file.Error(), "line ") || fmt.Sprint(userIDs(q)) != "[u1]" || result.Rows != 1 {
			t.Errorf("%s: %v, sent %s, %+v", name, err, userIDs(q), result.Counts)
		}
	}
}

func TestResumeWithinAnArray(t *testing.T) {
	for name, separator := range map[string]string{"indented": ",\n ", "one after another": " "} {
		const rows = 2000
		var list []string
		for i := range rows {
			list = append(list, fmt.Sprintf(`{"user_id":"u%d","note":"%s"}`, i, strings.Repeat("n", 100)))
		}
		content := strings.Join(list, separator)
		if name == "indented" {
			content = "[\n" + content + "\n]"
		}
		path := write(t, "f.json", content)
		q := &sqstest.Queue{}
		o := to(q, deleteUser)
		o.Publish = publish.Config{PackCommands: 1, Concurrency: 1}
		q.Fail = func(call int) faults.Plan {
			if call >= 100 {
				return sqstest.Denied()
			}
			return faults.Plan{}
		}
		if _, err := Files(t.Context(), []string{path}, o); err == nil {
			t.Fatalf("%s: it did not stop", name)
		}
		q.Fail = nil
		yes := true
		o.Resume = &yes
		result, err := Files(t.Context(), []string{path}, o)
		arrived := map[string]bool{}
		for _, id := range userIDs(q) {
			arrived[id] = true
		}
		if err != nil || result.Rows != rows || result.Rejected != 0 || result.Resumed == 0 || len(arrived) != rows {
			t.Errorf("%s: %v, %+v, %d arrived", name, err, result, len(arrived))
		}
	}
}

// A line of many megabytes of values is read value by value.
func TestLongLineOfValues(t *testing.T) {
	const rows = 20_000
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, `{"user_id":"u%d","note":"%s"}`, i, strings.Repeat("n", 120))
	}
	q, result, _, err := importText(t, "f.json", b.String(), deleteUser)
	if err != nil || result.Rejected != 0 || len(commands(q)) != rows {
		t.Errorf("%v, %+v, %d arrived", err, result.Counts, len(commands(q)))
	}
}

// What can't be read is refused before anything is sent, with what it is and what to do.
func TestForeignFiles(t *testing.T) {
	good := write(t, "good.csv", "user_id\nu1\n")
	for name, test := range map[string]struct{ content, says, todo string }{
		"f.parquet":  {"PAR1\x15\x04\x15", "Parquet", "convert"},
		"f.csv":      {"PAR1\x15\x04\x15", "Parquet", "convert"},
		"f.xlsx":     {"PK\x03\x04\x14\x00\x06\x00", "XLSX", "save it as"},
		"g.csv":      {"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00\x21\x00\x41\x37\x82\xcf\x6e\x01\x00\x00\x04\x05\x00\x00\x13\x00\x08\x02[Content_Types].xml", "XLSX", "save it as"},
		"f.zip":      {"PK\x03\x04\x14\x00\x00\x00", "zip", "unzip -p"},
		"f.csv.bz2":  {"BZh91AY&SY", "bzip2", "bzip2 -dc"},
		"f.csv.xz":   {"\xfd7zXZ\x00\x00\x04", "xz", "xz -dc"},
		"f.xls":      {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel", "save it as"},
		"f.avro":     {"Obj\x01\x04", "Avro", "convert"},
		"f.sqlite":   {"SQLite format 3\x00", "SQLite", "export"},
		"u16.csv":    {"u\x00s\x00e\x00r\x00", "UTF-16", "iconv"},
		"u16be.csv":  {"\x00u\x00s\x00e", "UTF-16", "iconv"},
		"mark.csv":   {"\xff\xfeu\x00", "UTF-16", "iconv"},
		"page.csv":   {"<!DOCTYPE html>", "web page", "download"},
		"f.xml":      {"<?xml version=\"1.0\"?>", "XML", "convert"},
		"twice.gz":   {gzipped(gzipped("user_id\n")), "twice", "decompress"},
		"p.gz":       {gzipped("PAR1\x15\x04\x15"), "Parquet", "convert"},
		"f.json.gz":  {gzipped(`{"Item":{"PK":{"S":"tenant#t"},"n":{"N":"1"}}}` + "\n"), "DynamoDB export", "jq"},
		"bare.json":  {`{"Item":{"user_id":{"S":"u1"}}}`, "DynamoDB export", "jq"},
		"orders.tbl": {"1|36901|O|173665.47|\n", "user_id", "--columns"},
		"data.csv":   {"1,36901,O\n", "user_id", "--columns"},
		"semi.csv":   {"user_id;x\nu1;y\n", "user_id", "--delimiter ';'"},
	} {
		q := &sqstest.Queue{}
		_, err := Files(t.Context(), []string{good, write(t, name, test.content)}, to(q, deleteUser))
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.todo) || strings.Contains(err.Error(), "\n") || len(commands(q)) > 0 {
			t.Errorf("%s: %v, sent %q", name, err, commands(q))
		}
	}
	// A member of that name alone makes no export.
	if q, _, _, err := importText(t, "f.jsonl", `{"Item":{"a":1},"user_id":"u1"}`, deleteUser); err != nil || len(commands(q)) != 1 {
		t.Error(err)
	}
}

// TPC-H's own files: no header, and a delimiter behind the last field too.
func TestTPCHTables(t *testing.T) {
	const text = "1|36901|O|173665.47|1996-01-02|5-LOW|Clerk#000000951|0|nstructions \"sleep|\n2|78002|O|46929.18|1996-12-01|1-URGENT|Clerk#000000880|0| foxes|\n"
	columns := strings.Split("o_orderkey,o_custkey,o_orderstatus,o_totalprice,o_orderdate,o_orderpriority,o_clerk,o_shippriority,o_comment", ",")
	mapping := with(order, func(m *Mapping) {
		m.Columns = map[string]string{"order_id": "o_orderkey", "user_id": "o_custkey", "order_amount": "o_totalprice"}
		m.Attributes = []string{"o_comment"}
	})
	q, result, rejected, err := importText(t, "orders.tbl", text, mapping, func(o *Options) { o.Header = columns })
	if err != nil || result.Commands != 2 || !strings.Contains(commands(q)[0], `"order_amount":"173665.47","attributes":{"o_comment":"nstructions \"sleep"}`) {
		t.Errorf("%v, %q, rejected %s", err, commands(q), rejected)
	}
	_, result, rejected, err = importText(t, "orders.txt", text, mapping, func(o *Options) { o.Header, o.Delimiter, o.Quote = columns, '|', QuoteNone })
	if err != nil || result.Rejected != 2 || !strings.Contains(rejected, "one column more") {
		t.Errorf("%v, rejected %s", err, rejected)
	}
	_, result, rejected, err = importText(t, "orders.txt", text, mapping, func(o *Options) {
		o.Header, o.Delimiter, o.Quote = append(columns, "none"), '|', QuoteNone
	})
	if err != nil || result.Commands != 2 {
		t.Errorf("%v, rejected %s", err, rejected)
	}
}
