package importer

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/internal/send/publish"
	"tributary/test/faults"
	"tributary/test/support/sqstest"
)

// write makes a file in a folder of the test's own.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// to makes options that send to a queue.
func to(q *sqstest.Queue, m Mapping) *Options {
	return &Options{Mapping: m, API: q, Queue: publish.Queue{Name: "q", URL: "u", FIFO: q.FIFO, MessageBytes: q.MessageBytes}}
}

// commands returns the commands on a queue, as JSON and sorted.
func commands(q *sqstest.Queue) []string {
	var list []string
	for _, m := range q.Messages() {
		for _, c := range m.Commands() {
			list = append(list, string(messages.Append(nil, &c)))
		}
	}
	slices.Sort(list)
	return list
}

// importText imports a file with this content.
func importText(t testing.TB, name, content string, m Mapping, change ...func(*Options)) (*sqstest.Queue, Result, string, error) {
	t.Helper()
	q := &sqstest.Queue{}
	o := to(q, m)
	for _, f := range change {
		f(o)
	}
	path := write(t, name, content)
	result, err := Files(t.Context(), []string{path}, o)
	if wrong := q.Wrong(); len(wrong) > 0 {
		t.Fatalf("calls that SQS refuses: %q", wrong)
	}
	rejected := ""
	if len(result.Rejects) > 0 {
		text, err := os.ReadFile(result.Rejects[0])
		if err != nil {
			t.Fatal(err)
		}
		rejected = string(text)
	}
	return q, result, rejected, err
}

var userType, orderType = schema.Builtin().Type("user"), schema.Builtin().Type("order")

var putOrder = Mapping{Command: "put_order"}

func with(m Mapping, change func(*Mapping)) Mapping {
	change(&m)
	return m
}

func TestMapping(t *testing.T) {
	for name, test := range map[string]struct {
		file, content string
		mapping       Mapping
		change        func(*Options)
		want          []string
	}{
		"columns with the names of fields": {"f.csv", "user_id,ignored,tenant_id,order_amount,order_id\nu1,x,t,150.00,o1\n", putOrder, nil,
			[]string{`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"150.00"}`}},
		"mapped columns, one tenant, a version": {"f.csv", "k;c;v;a\no1;u1;7;1.5\no2;u1;;2\n",
			Mapping{Command: "put_order", Tenant: "t", Columns: map[string]string{"order_id": "k", "user_id": "c", "order_amount": "a", "version": "v"}},
			func(o *Options) { o.Delimiter = ';' },
			[]string{`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"1.5","version":7}`,
				`{"type":"put_order","tenant_id":"t","order_id":"o2","user_id":"u1","order_amount":"2"}`}},
		"no header": {"f.tsv", "t\tu1\tAda\ta@x\n", Mapping{Command: "put_user"}, func(o *Options) {
			o.Header = []string{"tenant_id", "user_id", "user_name", "user_email"}
		}, []string{`{"type":"put_user","tenant_id":"t","user_id":"u1","user_name":"Ada","user_email":"a@x"}`}},
		"attributes, exactly as they are": {"f.csv", "tenant_id,order_id,user_id,order_amount,b,a\nt,o1,u1,1,\" 007\r\n\",\"say \"\"hi\"\"\u2028\"\n",
			with(putOrder, func(m *Mapping) { m.Attributes = []string{"a", "b"} }), nil,
			[]string{`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"1","attributes":{"a":"say \"hi\"` + "\u2028" + `","b":" 007\u000d\u000a"}}`}},
		"all attributes but those of rejected rows": {"f.csv", "rejected_line,rejected_reason,tenant_id,order_id,user_id,order_amount,x\n9,bad,t,o1,u1,1,y\n",
			with(putOrder, func(m *Mapping) { m.AllAttributes = true }), nil,
			[]string{`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"1","attributes":{"x":"y"}}`}},
		"a column says the type, others are left out where a type has no such field": {"f.csv",
			"type,tenant_id,user_id,order_id,user_name,user_email,order_amount\nput_user,t,u1,,Ada,a@x,\nput_order,t,u1,o1,,,5\ndelete_order,t,u1,o2,,,9\n", Mapping{}, nil,
			[]string{`{"type":"delete_order","tenant_id":"t","order_id":"o2"}`,
				`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"5"}`,
				`{"type":"put_user","tenant_id":"t","user_id":"u1","user_name":"Ada","user_email":"a@x"}`}},
		"commands": {"f.jsonl", `{"type":"delete_user","tenant_id":"t","user_id":"u1"}` + "\r\n\n" +
			` {"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":1.50,"attributes":{"n":1.0}}`, Mapping{}, nil,
			[]string{`{"type":"delete_user","tenant_id":"t","user_id":"u1"}`,
				`{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"1.50","attributes":{"n":1.0}}`}},
		"objects": {"f.ndjson", `{"id":36901,"total":173665.470,"who":"u\u0031","x":{"y":[1.0,null]},"rev":3,"left":"out"}` + "\n",
			Mapping{Command: "put_order", Tenant: "t", Attributes: []string{"x", "rev"},
				Columns: map[string]string{"order_id": "id", "order_amount": "total", "user_id": "who", "version": "rev"}}, nil,
			[]string{`{"type":"put_order","tenant_id":"t","order_id":"36901","user_id":"u1","order_amount":"173665.470","version":3,"attributes":{"x":{"y":[1.0,null]},"rev":3}}`}},
		"a byte order mark": {"f.csv", "\xef\xbb\xbftenant_id,user_id\nt,u1\n", Mapping{Command: "delete_user"}, nil,
			[]string{`{"type":"delete_user","tenant_id":"t","user_id":"u1"}`}},
	} {
		q, result, rejected, err := importText(t, test.file, test.content, test.mapping, func(o *Options) {
			if test.change != nil {
				test.change(o)
			}
		})
		if err != nil || rejected != "" {
			t.Errorf("%s: %v, rejected %q", name, err, rejected)
		}
		if got := commands(q); !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, test.want)
		}
		if result.Rows != int64(len(test.want)) || result.Commands != result.Rows {
			t.Errorf("%s: counts %+v", name, result.Counts)
		}
	}
}

func TestRejectedRows(t *testing.T) {
	head := "tenant_id,order_id,user_id,order_amount\n"
	good := "t,o1,u1,1\n"
	for name, test := range map[string]struct{ file, content, want string }{
		"too few fields":  {"f.csv", head + good + "t,o2\n" + good, `3,"the row has 2 fields, it must have 4",t,o2` + "\n"},
		"an amount":       {"f.csv", head + "t,o2,u1,\"1,5\"\n" + good, `2,"order_amount: ""1,5"" is not a decimal number such as 150, 149.99 or 1.5e2",t,o2,u1,"1,5"` + "\n"},
		"a bare quote":    {"f.csv", head + good + "t,o\"2,u1,1\n" + good, `3,"a quote stands within a field that is not quoted",t,o"2,u1,1` + "\n"},
		"an empty id":     {"f.csv", head + "t,,u1,1\n", `2,"order_id: it is empty",t,,u1,1` + "\n"},
		"broken UTF-8":    {"f.csv", head + "t,\xe9,u1,1\n", "2,\"order_id: \"\"\\xe9\"\" is not valid Unicode\",t,\xe9,u1,1\n"},
		"not JSON":        {"f.jsonl", `{"a":`, `{"rejected_line":1,"rejected_reason":"the body is not JSON: REASON","text":"{\"a\":"}` + "\n"},
		"no command":      {"f.jsonl", "\n{\"type\":\"put_invoice\"}\n", `{"rejected_line":2,"rejected_reason":"type: \"put_invoice\" is not one of put_user, put_order, delete_user, delete_order","row":{"type":"put_invoice"}}` + "\n"},
		"not Unicode":     {"f.jsonl", "{\"type\":\"\xff\"}\n", `{"rejected_line":1,"rejected_reason":"the line is not UTF-8","base64":"eyJ0eXBlIjoi/yJ9"}` + "\n"},
		"one bad of many": {"f.jsonl", `[{"type":"delete_user","tenant_id":"t","user_id":"u1"},{}]`, `{"rejected_line":1,"rejected_reason":"type: the field is missing, it must be one of put_user, put_order, delete_user, delete_order","row":[{"type":"delete_user","tenant_id":"t","user_id":"u1"},{}]}` + "\n"},
	} {
		mapping := putOrder
		if strings.HasSuffix(test.file, "jsonl") {
			mapping = Mapping{}
		}
		q, result, rejected, err := importText(t, test.file, test.content, mapping)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := test.want
		if test.file == "f.csv" {
			want = "rejected_line,rejected_reason," + head + want
		}
		if before, after, ok := strings.Cut(want, "REASON"); ok && strings.HasPrefix(rejected, before) && strings.HasSuffix(rejected, after) {
			continue // the words are another package's
		}
		if rejected != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, rejected, want)
		}
		if result.Rejected != 1 || result.Rows-1 != int64(len(commands(q))) {
			t.Errorf("%s: counts %+v, %d arrived", name, result.Counts, len(commands(q)))
		}
	}
}

// A stray quote far from the end stops the import and names its line. Resumed once the file is mended, it brings the rest.
func TestStrayQuoteStopsTheImport(t *testing.T) {
	const rows = 60_000
	var b strings.Builder
	b.WriteString("tenant_id,order_id,user_id,order_amount,note\n")
	for i := range rows {
		note := "a plain note"
		if i == 9_000 {
			note = `"` + note
		}
		fmt.Fprintf(&b, "t%d,o%d,u1,1,%s\n", i%3, i, note)
	}
	path := write(t, "f.csv", b.String())
	q := &sqstest.Queue{}
	o := to(q, putOrder)
	o.Publish.PackCommands = 100
	result, err := Files(t.Context(), []string{path}, o)
	if file, ok := errors.AsType[*FileError](err); !ok || !strings.Contains(file.Error(), "line 9002: ") {
		t.Fatalf("%v, %+v", err, result.Counts)
	}
	if result.Rows != 9_000 || result.Rejected != 0 || len(commands(q)) != 9_000 {
		t.Errorf("%+v, %d arrived", result.Counts, len(commands(q)))
	}
	if err := os.WriteFile(path, []byte(strings.Replace(b.String(), `"`, "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	yes := true
	o.Resume = &yes
	if result, err = Files(t.Context(), []string{path}, o); err != nil || result.Rows != rows || result.Rejected != 0 || result.Resumed == 0 {
		t.Errorf("resumed: %v, %+v", err, result)
	}
	arrived := map[string]bool{}
	for _, c := range commands(q) {
		arrived[c] = true
	}
	if len(arrived) != rows {
		t.Errorf("%d of %d rows arrived", len(arrived), rows)
	}
}

// Lines within a broken quoted field go into the file of rejected rows, all of them, and none is taken for a row.
func TestLinesWithinABrokenFieldAreNoRows(t *testing.T) {
	const head, field = "tenant_id,order_id,user_id,order_amount,note\n", "t,o1,u1,1,\"see below\nother,o9,u9,9,x\nend\" of it\n"
	for name, test := range map[string]struct {
		field, reason string
		sent          int
	}{
		"ended, and more": {field, "more text behind a closing quote; lines 2 to 4 are rejected as one row, since quotes hold them together", 1},
		"never ended":     {strings.Replace(field, "end\"", "end", 1), "a quote is opened and not closed; lines 2 to 5 are rejected as one row, since quotes hold them together", 0},
	} {
		q, result, rejected, err := importText(t, "f.csv", head+test.field+"t,o2,u1,1,y\n", putOrder)
		want := "rejected_line,rejected_reason," + head + "2,\"" + test.reason + "\"," + test.field
		if test.sent == 0 {
			want += "t,o2,u1,1,y\n"
		}
		if err != nil || result.Rejected != 1 || len(commands(q)) != test.sent || rejected != want {
			t.Errorf("%s: %v, %+v, sent %q, rejected\n%s, want\n%s", name, err, result.Counts, commands(q), rejected, want)
		}
	}
}

// A rejected file, mended, can be imported as the file it came from.
func TestRejectedFileIsImportable(t *testing.T) {
	_, _, rejected, err := importText(t, "f.csv", "tenant_id,order_id,user_id,order_amount,x\nt,o1,u1,five,\"a\nb\"\n", putOrder)
	if err != nil {
		t.Fatal(err)
	}
	mended := strings.Replace(rejected, "o1,u1,five", "o1,u1,5", 1)
	q, _, again, err := importText(t, "g.csv", mended, with(putOrder, func(m *Mapping) { m.AllAttributes = true }))
	want := `{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":"5","attributes":{"x":"a\u000ab"}}`
	if err != nil || again != "" || !slices.Equal(commands(q), []string{want}) {
		t.Errorf("%v, rejected %q, sent %s", err, again, commands(q))
	}
}

const oneBadOrder = "tenant_id,order_id,user_id,order_amount\nt,o1,u1,1\nt,o2,u1,none\n"

// The file of rejected rows replaces an earlier import's, and nothing else. If another file is there, nothing is done.
func TestRejectedRowsReplaceOnlyTheirOwn(t *testing.T) {
	own := "rejected_line,rejected_reason,x\n" + strings.Repeat("1,old,\n", 100)
	for name, test := range map[string]struct {
		at     func(t *testing.T, input, path string) error // makes what is at path
		says   string                                       // of the refusal; "": it is replaced
		option bool                                         // with --rejected
	}{
		"nothing":             {func(*testing.T, string, string) error { return nil }, "", true},
		"the input":           {func(_ *testing.T, input, path string) error { return os.Link(input, path) }, "is read", true},
		"a link to the input": {func(_ *testing.T, input, path string) error { return os.Symlink(input, path) }, "is read", false},
		"a directory":         {func(_ *testing.T, _, path string) error { return os.Mkdir(path, 0o755) }, "is a directory", true},
		"another file":        {func(_ *testing.T, _, path string) error { return os.WriteFile(path, []byte("rejected_line\n"), 0o644) }, "holds something else", false},
		"an empty file":       {func(_ *testing.T, _, path string) error { return os.WriteFile(path, nil, 0o644) }, "", true},
		"rejected CSV":        {func(_ *testing.T, _, path string) error { return os.WriteFile(path, []byte(own), 0o644) }, "", false},
		"rejected JSON": {func(_ *testing.T, _, path string) error {
			return os.WriteFile(path, []byte(`{"rejected_line":1,"rejected_reason":"old","text":"x"}`+"\n"), 0o644)
		}, "", true},
		"a link to rejected CSV": {func(t *testing.T, _, path string) error {
			return os.Symlink(write(t, "other.csv", own), path)
		}, "", true},
		"a link to nothing": {func(t *testing.T, _, path string) error {
			return os.Symlink(filepath.Join(t.TempDir(), "new.csv"), path)
		}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			input := write(t, "f.csv", oneBadOrder)
			q := &sqstest.Queue{}
			o := to(q, putOrder)
			path := input + ".rejected.csv"
			if test.option {
				path = filepath.Join(t.TempDir(), "rejected")
				o.Rejected = path
			}
			if err := test.at(t, input, path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			content, _ := os.ReadFile(path)
			_, err := Files(t.Context(), []string{input}, o)
			after, _ := os.Lstat(path)
			now, _ := os.ReadFile(path)
			if kept, _ := os.ReadFile(input); string(kept) != oneBadOrder {
				t.Errorf("the input is %q now", kept)
			}
			if test.says == "" {
				want := `rejected_line,rejected_reason,tenant_id,order_id,user_id,order_amount` + "\n" +
					`3,"order_amount: ""none"" is not a decimal number such as 150, 149.99 or 1.5e2",t,o2,u1,none` + "\n"
				if err != nil || string(now) != want || before != nil && after.Mode().Type() != before.Mode().Type() {
					t.Errorf("%v, rejected %q", err, now)
				}
				return
			}
			_, ok := errors.AsType[*UsageError](err)
			if !ok || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want a usage error with %q", err, test.says)
			}
			if len(q.Messages()) > 0 || after.Mode() != before.Mode() || string(now) != string(content) {
				t.Errorf("%d messages, mode %v was %v, %q", len(q.Messages()), after.Mode(), before.Mode(), now)
			}
		})
	}
}

// Standard input may be a file as well.
func TestRejectedRowsSpareStandardInput(t *testing.T) {
	path := write(t, "f.csv", oneBadOrder)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	o := to(&sqstest.Queue{}, putOrder)
	o.Stdin, o.Rejected = f, path
	if _, err := Files(t.Context(), []string{"-"}, o); err == nil || !strings.Contains(err.Error(), "is read") {
		t.Error(err)
	}
}

// A clean import leaves no rejected rows of an earlier one behind.
func TestOldRejectedRowsAreRemoved(t *testing.T) {
	path := write(t, "f.csv", oneBadOrder)
	for _, want := range []int{1, 0} {
		result, err := Files(t.Context(), []string{path}, to(&sqstest.Queue{}, putOrder))
		if _, there := os.Stat(path + ".rejected.csv"); err != nil || len(result.Rejects) != want || (there == nil) != (want == 1) {
			t.Errorf("%v, %+v, %v", err, result, there)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(oneBadOrder, "none", "2", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Columns named on the command line are the rejected file's header, so that it can be imported without naming them.
func TestRejectedRowsOfAFileWithoutAHeader(t *testing.T) {
	_, _, rejected, err := importText(t, "f.csv", "t;o1;u1;one;x\n", putOrder, func(o *Options) {
		o.Header, o.Delimiter = []string{"tenant_id", "order_id", "user_id", "order_amount", "a;b"}, ';'
	})
	if err != nil || !strings.HasPrefix(rejected, "rejected_line;rejected_reason;tenant_id;order_id;user_id;order_amount;\"a;b\"\n1;") {
		t.Errorf("%v, rejected %q", err, rejected)
	}
}

// What is no file is read as standard input is: no checkpoint and no rejected rows beside it. Nor is it emptied where
// rejected rows go there.
func TestPipes(t *testing.T) {
	pipe := func() (r, w *os.File, name func(*os.File) string) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = r.Close(), w.Close() })
		return r, w, func(f *os.File) string { return fmt.Sprintf("/dev/fd/%d", f.Fd()) }
	}
	r, w, name := pipe()
	if _, err := os.Stat(name(r)); err != nil {
		const how = "pipes have no names here, as /dev/fd gives them"
		if os.Getenv("CI") == "true" {
			t.Fatal(how, err)
		}
		t.Skip("NOT RUN: "+how, err)
	}
	t.Chdir(t.TempDir())
	in := func() { _, _ = w.WriteString(oneBadOrder); _ = w.Close() } // it fits the pipe
	in()
	q := &sqstest.Queue{}
	result, err := Files(t.Context(), []string{name(r)}, to(q, putOrder))
	if text, _ := os.ReadFile("stdin.rejected.csv"); err != nil || len(commands(q)) != 1 || !strings.Contains(string(text), ",t,o2,u1,none\n") {
		t.Errorf("%v, %+v, rejected %q", err, result, text)
	}
	r, w, name = pipe()
	in()
	rejected, out, _ := pipe()
	o := to(q, putOrder)
	o.Rejected = name(out)
	_, err = Files(t.Context(), []string{name(r)}, o)
	_ = out.Close()
	if text, _ := io.ReadAll(rejected); err != nil || !strings.HasSuffix(string(text), ",t,o2,u1,none\n") {
		t.Errorf("%v, rejected %q", err, text)
	}
	var names [2]string
	for i := range names {
		r, w, name = pipe()
		in()
		names[i] = name(r)
	}
	result, err = Files(t.Context(), names[:], to(q, putOrder))
	if want := []string{"stdin.rejected.csv", "stdin-2.rejected.csv"}; err != nil || !slices.Equal(result.Rejects, want) {
		t.Errorf("two pipes: %v, %+v", err, result)
	}
	if entries, _ := os.ReadDir("."); len(entries) != 2 {
		t.Errorf("it left %v", entries)
	}
	// One program writes both, the first one first, which is more than a pipe holds.
	const rows = 20_000
	var writes [2]*os.File
	for i := range names {
		r, writes[i], name = pipe()
		names[i] = name(r)
	}
	go func() {
		for _, w := range writes {
			_, _ = w.WriteString(manyOrders(rows))
			_ = w.Close()
		}
	}()
	q = &sqstest.Queue{}
	result, err = Files(t.Context(), names[:], to(q, with(putOrder, func(m *Mapping) { m.IDs = ids.UUIDv4 })))
	if err != nil || result.Rows != 2*rows {
		t.Errorf("two pipes of one program: %v, %+v", err, result)
	}
}

func TestObjectsAreChecked(t *testing.T) {
	mapping := Mapping{Command: "put_order", Tenant: "t", AllAttributes: true}
	for line, want := range map[string]string{
		`{"order_id":"o","user_id":"u"}`:                                 "order_amount",
		`{"order_id":"o","user_id":"u","order_amount":null}`:             "order_amount",
		`{"order_id":["o"],"user_id":"u","order_amount":1}`:              "order_id",
		`{"order_id":true,"user_id":"u","order_amount":1}`:               "order_id",
		`{"order_id":"o","order_id":"o","user_id":"u","order_amount":1}`: "order_id",
		`{"order_id":"o","user_id":"u","order_amount":1,"version":1.5}`:  "version",
		`{"order_id":"o","user_id":"u","order_amount":1,"x":1,"x":2}`:    "attributes",
		`{"order_id":"o","user_id":"u","order_amount":1,"x":"\ud800"}`:   "x",
		`{"order_id":"o","user_id":"u","order_amount":1,"\n":"\ud800"}`:  `"\n"`,
		`{"order_id":"o","user_id":"u","order_amount":1,"x":1e999}`:      "attributes",
		`{"order_id":"o","user_id":"u","order_amount":1} x`:              "",
		`"a string"`: "",
		`{"order_id":"o","user_id":"u","order_amount":1,"x":` + deep(40) + `}`:   "attributes",
		`{"order_id":"o","user_id":"u","order_amount":1,"x":"` + long() + `"}`:   "",
		`{"order_id":"` + long() + `","user_id":"u","order_amount":1,"x":"fine"`: "",
	} {
		var why *messages.Error
		_, result, _, err := importText(t, "f.jsonl", line+"\n", mapping, func(o *Options) {
			o.Refusal = func(_ string, _ int64, e *messages.Error) { why = e }
		})
		if err != nil || result.Rejected != 1 || why.Field != want {
			t.Errorf("%.80s: %v, %+v, %+v", line, err, result.Counts, why)
		}
	}
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func long() string { return strings.Repeat("x", 500_000) }

func TestWrongFilesAndFlags(t *testing.T) {
	usage := func(err error) bool {
		_, ok := errors.AsType[*UsageError](err)
		return ok
	}
	for name, test := range map[string]struct {
		file, content string
		mapping       Mapping
		says          string
	}{
		"no type":              {"f.csv", "tenant_id,order_id\n", Mapping{}, "--type put_order"},
		"no tenant":            {"f.csv", "order_id,user_id,order_amount\n", putOrder, "--tenant ID"},
		"no id":                {"f.csv", "tenant_id,user_id,order_amount\n", putOrder, "--id uuid7"},
		"no amount":            {"f.csv", "tenant_id,order_id,user_id,price\n", putOrder, "--map order_amount=COLUMN; the file has tenant_id, order_id, user_id, price"},
		"no such column":       {"f.csv", "tenant_id,user_id,order_id,order_amount\n", with(putOrder, func(m *Mapping) { m.Columns = map[string]string{"order_id": "nr"} }), "--map order_id=nr names no column"},
		"no such attribute":    {"f.csv", "tenant_id,order_id,user_id,order_amount\n", with(putOrder, func(m *Mapping) { m.Attributes = []string{"x"} }), "--attributes x names no column"},
		"two columns":          {"f.csv", "tenant_id,order_id,user_id,order_amount,order_id\n", putOrder, "two columns are called order_id"},
		"a name that steers":   {"f.csv", "tenant_id,order_id,user_id,\"a\n\x1b[2Jb\",\xff,\"\",größe\n", putOrder, `the file has tenant_id, order_id, user_id, "a\n\x1b[2Jb", "\xff", "", größe`},
		"two names that steer": {"f.csv", "tenant_id,order_id,user_id,order_amount,\x1b,\x1b\n", with(putOrder, func(m *Mapping) { m.AllAttributes = true }), `two columns are called "\x1b"`},
		"flags that don't fit": {"f.jsonl", "{}\n", Mapping{Tenant: "t"}, "do not apply"},
	} {
		_, _, _, err := importText(t, test.file, test.content, test.mapping)
		if !usage(err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var file *FileError
	for name, content := range map[string]string{
		"f.csv":    "\xff\xfet\x00",
		"g.csv":    "\"a,b\n",
		"h.csv":    "\x1f\x8bnothing",
		"i.csv.gz": "\x28\xb5\x2f\xfdnothing more of it",
	} {
		if _, _, _, err := importText(t, name, content, putOrder); !errors.As(err, &file) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := Files(t.Context(), []string{"no such file"}, to(&sqstest.Queue{}, putOrder)); !errors.As(err, &file) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
	if _, err := Files(t.Context(), []string{t.TempDir()}, to(&sqstest.Queue{}, putOrder)); !errors.As(err, &file) {
		t.Errorf("a folder: %v", err)
	}
	for name, m := range map[string]Mapping{
		"unknown field":     {Columns: map[string]string{"colour": "c"}},
		"foreign field":     {Command: "put_user", Columns: map[string]string{"order_id": "c"}},
		"attributes mapped": {Columns: map[string]string{"attributes": "c"}},
		"two tenants":       {Tenant: "t", Columns: map[string]string{"tenant_id": "c"}},
		"a wrong tenant":    {Tenant: "a b"},
		"ids for deletes":   {Command: "delete_user", IDs: ids.UUIDv7},
		"deletes carry":     {Command: "delete_user", AllAttributes: true},
	} {
		if err := m.Check(); !usage(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompressed(t *testing.T) {
	text := "tenant_id,user_id\n" + strings.Repeat("t,u1\n", 1000)
	var zipped, zstandard bytes.Buffer
	g := gzip.NewWriter(&zipped)
	_, _ = g.Write([]byte(text))
	_ = g.Close()
	z, _ := zstd.NewWriter(&zstandard)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	mapping := Mapping{Command: "delete_user"}
	for name, content := range map[string]string{"f.csv.gz": zipped.String(), "f.csv.zst": zstandard.String()} {
		q, _, _, err := importText(t, name, content, mapping)
		if err != nil || len(commands(q)) != 1000 {
			t.Errorf("%s: %d commands, %v", name, len(commands(q)), err)
		}
		_, result, _, err := importText(t, name, content[:len(content)-10], mapping)
		if err == nil {
			t.Errorf("%s, cut short: no error, %+v", name, result.Counts)
		}
	}
	q := &sqstest.Queue{}
	o := to(q, mapping)
	o.Stdin = bytes.NewReader(zipped.Bytes())
	if _, err := Files(t.Context(), []string{"-"}, o); err != nil || len(commands(q)) != 1000 {
		t.Errorf("standard input: %d commands, %v", len(commands(q)), err)
	}
}

// The layout of TPC-H's tables, as its generators write them as CSV; the rows are made up.
func TestTPCH(t *testing.T) {
	orders := Mapping{Command: "put_order", Columns: map[string]string{
		"tenant_id": "o_orderstatus", "order_id": "o_orderkey", "user_id": "o_custkey", "order_amount": "o_totalprice"}}
	customers := Mapping{Command: "put_user", Tenant: "tpch", Columns: map[string]string{
		"user_id": "c_custkey", "user_name": "c_name", "user_email": "c_phone"}}
	for file, test := range map[string]struct {
		mapping Mapping
		rows    int
		first   string
	}{
		"testdata/orders.csv":   {orders, 6, `{"type":"put_order","tenant_id":"F","order_id":"3","user_id":"7001","order_amount":"212.40"}`},
		"testdata/customer.csv": {customers, 4, `{"type":"put_user","tenant_id":"tpch","user_id":"1","user_name":"Customer#000000001","user_email":"25-555-010-2001"}`},
	} {
		q := &sqstest.Queue{}
		o := to(q, test.mapping)
		o.Rejected = filepath.Join(t.TempDir(), "rejected")
		no := false
		o.Resume = &no
		result, err := Files(t.Context(), []string{file}, o)
		if got := commands(q); err != nil || result.Rejected != 0 || len(got) != test.rows || got[0] != test.first {
			t.Errorf("%s: %v, %+v, %q", file, err, result.Counts, got)
		}
	}
	// Exact to the cent: the sum of the arrived amounts, in cents and without a float, is the sum of the file.
	q := &sqstest.Queue{}
	o := to(q, orders)
	o.Rejected = filepath.Join(t.TempDir(), "rejected")
	if _, err := Files(t.Context(), []string{"testdata/orders.csv"}, o); err != nil {
		t.Fatal(err)
	}
	var cents int64
	for _, m := range q.Messages() {
		for _, c := range m.Commands() {
			var whole, part int64
			if _, err := fmt.Sscanf(c.Get("order_amount"), "%d.%02d", &whole, &part); err != nil {
				t.Fatal(err)
			}
			cents += 100*whole + part
		}
	}
	if cents != 22_314_302 {
		t.Errorf("the orders sum up to %d cents", cents)
	}
}

// broken makes a file of n rows and breaks it.
func broken(rng *rand.Rand, kind string, n int) string {
	var b strings.Builder
	switch kind {
	case "csv":
		b.WriteString("tenant_id,order_id,user_id,order_amount,note\n")
	case "json":
		b.WriteString("[\n")
	}
	for i := range n {
		if kind == "csv" {
			fmt.Fprintf(&b, "t%d,o%d,u1,%d.50,\"note, %d\nsecond \"\"line\"\"\"\n", i%3, i, i, i)
		} else {
			fmt.Fprintf(&b, `{"type":"put_order","tenant_id":"t%d","order_id":"o%d","user_id":"u1","order_amount":%d.5,"attributes":{"note":"n\u00e9"}}`, i%3, i, i)
			if kind == "json" {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
	}
	if kind == "json" {
		b.WriteString("{}]")
	}
	text := []byte(b.String())
	for range 1 + rng.IntN(6) {
		at := rng.IntN(len(text) + 1)
		end := min(len(text), at+rng.IntN(60))
		var put []byte
		switch rng.IntN(12) {
		case 0:
			text = text[:at] // cut short
			continue
		case 1:
			put = nil // a piece is missing
		case 2:
			put, end = []byte{'"'}, at
		case 3:
			put, end = []byte{0}, at
		case 4:
			put, end = []byte("\xef\xbb\xbf"), at
		case 5:
			text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
			continue
		case 6:
			put, end = []byte("caf\xe9 \xff\xfe"), at // Latin-1, and no encoding at all
		case 7:
			put, end = bytes.Repeat([]byte("x"), rng.IntN(40_000)), at
		case 8:
			put, end = []byte(strings.Repeat("[{", rng.IntN(3000))), at
		case 9:
			put, end = []byte{'\n'}, at
		case 10:
			put, end = []byte{'\r'}, at
		case 11:
			put = make([]byte, end-at)
			for i := range put {
				put[i] = byte(rng.IntN(256))
			}
		}
		text = slices.Concat(text[:at], put, text[end:])
	}
	if rng.IntN(200) == 0 { // longer than a row may be
		at := rng.IntN(len(text) + 1)
		text = slices.Concat(text[:at], bytes.Repeat([]byte("y"), MaxRowBytes+rng.IntN(MaxRowBytes)), text[at:])
	}
	return string(text)
}

// Whatever is wrong with a file: nothing crashes, and every row is sent or rejected.
func TestBrokenFiles(t *testing.T) {
	const seed = 20261124
	folder := t.TempDir()
	stopped := 0
	for i := range 2_000 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		kind, mapping := "csv", putOrder
		switch i % 4 {
		case 1:
			kind, mapping = "jsonl", Mapping{}
		case 3:
			kind, mapping = "json", Mapping{}
		}
		path := filepath.Join(folder, "f."+kind)
		if err := os.WriteFile(path, []byte(broken(rng, kind, 1+rng.IntN(60))), 0o644); err != nil {
			t.Fatal(err)
		}
		q := &sqstest.Queue{}
		o := to(q, mapping)
		var refusals int64
		o.Refusal = func(string, int64, *messages.Error) { refusals++ }
		result, err := Files(t.Context(), []string{path}, o)
		if err != nil { // only where the file as a whole makes no sense, a header that is none, or where rows end can't be told
			file := &FileError{}
			if _, ok := errors.AsType[*UsageError](err); (!ok || result.Rows != 0) && !errors.As(err, &file) ||
				result.Rows != 0 && !strings.Contains(err.Error(), "can't be told") {
				t.Fatalf("seed %d file %d: %v after %+v", seed, i, err, result.Counts)
			}
			if kind != "json" { // which stops at its first fault
				stopped++
			}
			_ = os.Remove(CheckpointPath(path))
			continue
		}
		sent := int64(len(commands(q)))
		if wrong := q.Wrong(); len(wrong) > 0 || sent != result.Commands || kind == "csv" && sent+result.Rejected != result.Rows || refusals != result.Rejected {
			t.Fatalf("seed %d file %d: %+v, %d sent, wrong calls %q", seed, i, result.Counts, sent, wrong)
		}
		if result.Rejected == 0 {
			continue
		}
		text, err := os.ReadFile(result.Rejects[0])
		if err != nil {
			t.Fatal(err)
		}
		if kind != "csv" {
			lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
			for _, line := range lines {
				if !json.Valid(line) {
					t.Fatalf("seed %d file %d: rejected line is no JSON: %.200q", seed, i, line)
				}
			}
			if int64(len(lines)) != result.Rejected {
				t.Fatalf("seed %d file %d: %d rejected lines, %d counted", seed, i, len(lines), result.Rejected)
			}
		}
	}
	if stopped > 200 {
		t.Errorf("%d of 2,000 files were not imported to their end", stopped)
	}
}

// manyOrders is a CSV of n orders, every tenth of them wrong, for resuming.
func manyOrders(n int) string {
	var b strings.Builder
	b.WriteString("tenant_id,user_id,order_amount,note\n")
	for i := range n {
		amount := fmt.Sprint(i)
		if i%10 == 9 {
			amount = "none"
		}
		fmt.Fprintf(&b, "t%d,u1,%s,%s\n", i%4, amount, strings.Repeat("n", 100))
	}
	return b.String()
}

// An import that fails at any call, and is resumed, brings every row at least once and rejects each wrong one once, with
// the ids that the first run gave; on a FIFO queue it brings every row once.
func TestResume(t *testing.T) {
	const rows = 2_000
	content := manyOrders(rows)
	for _, fifo := range []bool{false, true} {
		for _, failAt := range []int{1, 12, 30, 47, 64, 131} {
			path := write(t, "f.csv", content)
			q := &sqstest.Queue{FIFO: fifo}
			o := to(q, with(putOrder, func(m *Mapping) { m.IDs, m.AllAttributes = ids.UUIDv7, true }))
			o.Publish = publish.Config{PackCommands: 1, Concurrency: 2}
			runs := 0
			fail := sqstest.Denied()
			var final Result
			for {
				runs++
				first, plan := q.Calls(), fail
				q.Fail = func(call int) faults.Plan {
					if call-first < failAt {
						return faults.Plan{}
					}
					plan := plan
					plan.After = call%2 == 0
					return plan
				}
				yes := runs > 1
				if o.Resume = &yes; !yes {
					o.Resume = nil
				}
				result, err := Files(t.Context(), []string{path}, o)
				if err == nil {
					final = result
					if failAt >= 30 && result.Resumed == 0 {
						t.Errorf("fail at %d: %d runs, each from the start", failAt, runs)
					}
					break
				}
				if runs > 1 && failAt < 30 { // too few calls between two failures to come far
					fail = faults.Plan{}
				}
				if runs > 200 {
					t.Fatalf("no end after %d runs: %v", runs, err)
				}
			}
			if final.Rows != rows || final.Rejected != rows/10 {
				t.Errorf("fail at %d: counts %+v", failAt, final.Counts)
			}
			times := map[string]int{}
			id := map[string]string{}
			for _, m := range q.Messages() {
				for _, c := range m.Commands() {
					times[c.Get("order_amount")]++
					if before := id[c.Get("order_amount")]; before != "" && before != c.Get("order_id") {
						t.Fatalf("row %s had the id %s and then %s", c.Get("order_amount"), before, c.Get("order_id"))
					}
					id[c.Get("order_amount")] = c.Get("order_id")
				}
			}
			if len(times) != rows*9/10 {
				t.Errorf("fifo %v, fail at %d: %d rows arrived", fifo, failAt, len(times))
			}
			for row, n := range times {
				if fifo && n != 1 {
					t.Fatalf("fail at %d: row %s arrived %d times on a FIFO queue", failAt, row, n)
				}
			}
			text, err := os.ReadFile(final.Rejects[0])
			if lines := bytes.Count(text, []byte("\n")); err != nil || lines != 1+rows/10 {
				t.Errorf("fail at %d: %d lines of rejected rows, %v", failAt, lines, err)
			}
			if _, err := os.Stat(CheckpointPath(path)); !os.IsNotExist(err) {
				t.Errorf("the checkpoint is still there: %v", err)
			}
		}
	}
}

// A FIFO queue drops duplicates within five minutes. A deliberately repeated import is not a duplicate.
func TestRepeatedImportToFIFO(t *testing.T) {
	const text = "tenant_id,user_id\nt,u1\nt,u2\n"
	path := write(t, "f.csv", text)
	q := &sqstest.Queue{FIFO: true}
	o := to(q, Mapping{Command: "delete_user"})
	for n := range 4 {
		o.Stdin = strings.NewReader(text)
		if _, err := Files(t.Context(), []string{path, "-"}[n%2:n%2+1], o); err != nil {
			t.Fatal(err)
		}
		if got := len(commands(q)); got != 2*(n+1) {
			t.Errorf("%d commands after %d imports", got, n+1)
		}
	}
}

// An import that stopped counts as commands what SQS accepted, and no more.
func TestCountsOfAStoppedImport(t *testing.T) {
	const rows = 3_000
	q := &sqstest.Queue{Fail: func(call int) faults.Plan {
		if call >= 9 {
			return sqstest.Denied()
		}
		return faults.Plan{}
	}}
	o := to(q, with(putOrder, func(m *Mapping) { m.IDs = ids.UUIDv4 }))
	o.Publish = publish.Config{PackCommands: 10, Concurrency: 1}
	path := write(t, "f.csv", manyOrders(rows))
	stopped, err := Files(t.Context(), []string{path}, o)
	sent := int64(len(commands(q)))
	if err == nil || stopped.Commands != sent || stopped.WriteUnits != 2*sent || sent == 0 || stopped.Rows*9/10 <= sent || stopped.Rows < stopped.Rejected*10 {
		t.Errorf("%v, %+v, %d commands accepted", err, stopped.Counts, sent)
	}
	q.Fail = nil
	yes := true
	o.Resume = &yes
	whole, err := Files(t.Context(), []string{path}, o)
	if want := (Counts{Rows: rows, Rejected: rows / 10, Commands: rows * 9 / 10, WriteUnits: 2 * rows * 9 / 10}); err != nil || whole.Counts != want {
		t.Errorf("resumed: %v, %+v, want %+v", err, whole.Counts, want)
	}
}

func TestResumeRefuses(t *testing.T) {
	yes, no := true, false
	content := manyOrders(3_000)
	mapping := with(putOrder, func(m *Mapping) { m.IDs = ids.UUIDv4 })
	stopped := func(t *testing.T) (string, *Options, *sqstest.Queue) {
		path := write(t, "f.csv", content)
		q := &sqstest.Queue{}
		q.Fail = func(call int) faults.Plan {
			if call >= 20 {
				return sqstest.Denied()
			}
			return faults.Plan{}
		}
		o := to(q, mapping)
		o.Publish = publish.Config{PackCommands: 10, Concurrency: 1}
		if _, err := Files(t.Context(), []string{path}, o); err == nil {
			t.Fatal("it did not stop")
		}
		if _, err := os.Stat(CheckpointPath(path)); err != nil {
			t.Fatal(err)
		}
		q.Fail = nil
		return path, o, q
	}
	for name, test := range map[string]struct {
		change func(path string, o *Options) error
		fails  bool
	}{
		"without being asked": {func(string, *Options) error { return nil }, true},
		"with other flags":    {func(_ string, o *Options) error { o.Resume = &yes; o.Mapping.IDs = ids.UUIDv7; return nil }, true},
		"to another queue":    {func(_ string, o *Options) error { o.Resume = &yes; o.Queue.URL = "other"; return nil }, true},
		"into a changed file": {func(path string, o *Options) error {
			o.Resume = &yes
			return os.WriteFile(path, []byte(strings.Replace(content, "u1", "u2", 1)), 0o644)
		}, true},
		"into a shorter file": {func(path string, o *Options) error {
			o.Resume = &yes
			return os.WriteFile(path, []byte(content[:2000]), 0o644)
		}, true},
		"a broken checkpoint": {func(path string, o *Options) error {
			o.Resume = &yes
			return os.WriteFile(CheckpointPath(path), []byte("{"), 0o644)
		}, true},
		"into a file that grew": {func(path string, o *Options) error {
			o.Resume = &yes
			return os.WriteFile(path, []byte(content+"t1,u1,1,x\n"), 0o644)
		}, false},
		"anew": {func(path string, o *Options) error { o.Resume = &no; return nil }, false},
	} {
		path, o, q := stopped(t)
		if err := test.change(path, o); err != nil {
			t.Fatal(err)
		}
		before := len(q.Messages())
		_, err := Files(t.Context(), []string{path}, o)
		if failed := err != nil; failed != test.fails || failed && len(q.Messages()) != before {
			t.Errorf("%s: %v, %d messages more", name, err, len(q.Messages())-before)
		}
	}
}

// An import made anew gives up what earlier ones say of all its files, before it sends the first of them.
func TestNoResumeForgetsAllFiles(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("tenant_id,user_id\nt,"+name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, c := path("a"), path("b"), path("c")
	yes, no := true, false
	q := &sqstest.Queue{}
	o := to(q, Mapping{Command: "delete_user"})
	for _, step := range []struct {
		files  []string
		resume *bool
		failAt int // the call
		sent   int // so far
	}{
		{[]string{b, c}, nil, 1, 1},  // b is done
		{[]string{a, b}, &no, 2, 1},  // and given up, when a stops
		{[]string{a, b}, &yes, 9, 3}, // so that b is sent
	} {
		q.Fail = func(call int) faults.Plan {
			if call == step.failAt {
				return sqstest.Denied()
			}
			return faults.Plan{}
		}
		o.Resume = step.resume
		result, err := Files(t.Context(), step.files, o)
		if stopped := step.failAt < 9; (err != nil) != stopped || result.Resumable != stopped || len(commands(q)) != step.sent {
			t.Fatalf("%v: %v, %+v, sent %q", step.files, err, result, commands(q))
		}
	}
}

func TestDryRun(t *testing.T) {
	path := write(t, "f.csv", manyOrders(100))
	var samples []string
	o := &Options{Mapping: with(putOrder, func(m *Mapping) { m.IDs = ids.UUIDv7 }), Sample: func(c string) { samples = append(samples, c) }}
	result, err := Files(t.Context(), []string{path}, o)
	if err != nil || len(samples) != 3 || result.Rows != 100 || result.Rejected != 10 || result.Commands != 90 || len(result.Rejects) > 0 {
		t.Errorf("%v, %+v, %q", err, result, samples)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("it left files: %v", entries)
	}
}

func TestRate(t *testing.T) {
	started := time.Now()
	_, result, _, err := importText(t, "f.csv", "tenant_id,user_id\n"+strings.Repeat("t,u1\n", 300), Mapping{Command: "delete_user"},
		func(o *Options) { o.Rate = 1000 })
	if took := time.Since(started); err != nil || result.Rows != 300 || took < 190*time.Millisecond {
		t.Errorf("%d rows in %v, %v", result.Rows, took, err)
	}
}

// An interruption ends an import that waits for standard input, before the first byte and behind some rows.
func TestInterruptedWhileWaitingForInput(t *testing.T) {
	for text, rows := range map[string]int64{"": 0, "tenant_id,user_id\nt,u1\nt,u2\nt,u": 2} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in, typed := io.Pipe()
			defer func() { _ = typed.Close() }()
			go func() { _, _ = io.WriteString(typed, text) }()
			q := &sqstest.Queue{}
			o := to(q, Mapping{Command: "delete_user"})
			o.Stdin = in
			time.AfterFunc(time.Minute, cancel)
			started := time.Now()
			result, err := Files(ctx, []string{"-"}, o)
			if took := time.Since(started); !errors.Is(err, context.Canceled) || took != time.Minute {
				t.Errorf("%v after %v", err, took)
			}
			if result.Rows != rows || int64(len(commands(q))) != rows {
				t.Errorf("%d rows read, %d arrived, want %d", result.Rows, len(commands(q)), rows)
			}
		})
	}
}

// Standard input can fail as any file can.
func TestStandardInputThatBreaks(t *testing.T) {
	broken := errors.New("broken")
	o := to(&sqstest.Queue{}, Mapping{Command: "delete_user"})
	o.Stdin = io.MultiReader(strings.NewReader("tenant_id,user_id\nt,u1\nt,u"), iotest.ErrReader(broken))
	result, err := Files(t.Context(), []string{"-"}, o)
	if _, ok := errors.AsType[*FileError](err); !ok || !errors.Is(err, broken) || result.Rows != 1 {
		t.Errorf("%v after %d rows", err, result.Rows)
	}
	// Nor can it be gone on with, though a file before it has a checkpoint that says it is done.
	o.Stdin = io.MultiReader(strings.NewReader("tenant_id,user_id\nt,u1\nt,u"), iotest.ErrReader(broken))
	result, err = Files(t.Context(), []string{write(t, "f.csv", "tenant_id,user_id\nt,u1\n"), "-"}, o)
	if !errors.Is(err, broken) || result.Resumable {
		t.Errorf("%v, resumable: %v", err, result.Resumable)
	}
}

// The rejected rows of a file that is done are the user's, who may have mended them in place.
func TestResumeLeavesRejectedRowsOfWhatIsDone(t *testing.T) {
	done := write(t, "done.csv", oneBadOrder)
	stops := write(t, "stops.csv", oneBadOrder)
	q := &sqstest.Queue{Fail: func(call int) faults.Plan {
		if call >= 1 {
			return sqstest.Denied()
		}
		return faults.Plan{}
	}}
	o := to(q, putOrder)
	if result, err := Files(t.Context(), []string{done, stops}, o); err == nil || !result.Resumable {
		t.Fatalf("%v, %+v", err, result)
	}
	const mended = "tenant_id,order_id,user_id,order_amount\nt,o2,u1,7\n"
	if err := os.WriteFile(done+".rejected.csv", []byte(mended), 0o644); err != nil {
		t.Fatal(err)
	}
	yes := true
	q.Fail, o.Resume = nil, &yes
	_, err := Files(t.Context(), []string{done, stops}, o)
	if text, _ := os.ReadFile(done + ".rejected.csv"); err != nil || string(text) != mended || len(commands(q)) != 2 {
		t.Errorf("%v, %q, %q", err, text, commands(q))
	}
}

func TestAFileIsImportedOnce(t *testing.T) {
	path := write(t, "f.csv", "tenant_id,user_id\nt,u1\n")
	link := filepath.Join(t.TempDir(), "link.csv")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{path, filepath.Dir(path) + "/./f.csv", link} {
		q := &sqstest.Queue{}
		_, err := Files(t.Context(), []string{path, again}, to(q, Mapping{Command: "delete_user"}))
		if _, usage := errors.AsType[*UsageError](err); !usage || len(commands(q)) != 0 {
			t.Errorf("%s and %s: %v, sent %q", path, again, err, commands(q))
		}
	}
}

func TestWriteUnits(t *testing.T) {
	units := newWriteUnits(schema.Builtin())
	order := messages.Put(orderType, "t", "o", "u", "1")
	large := order
	large.Attributes = `{"x":"` + strings.Repeat("x", 1024) + `"}`
	user := messages.Put(userType, "t", "u", "", "")
	gone := messages.Delete(userType, "t", "u")
	for want, list := range map[int64][]messages.Command{2: {order, user, gone}, 4: {large}} {
		for _, c := range list {
			if got := units.of(&c); got != want {
				t.Errorf("%v: %d units, want %d", c.Name(), got, want)
			}
		}
	}
}
