package importer

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"tributary/internal/messages"
)

type record struct {
	line   int64
	fields []string // nil: refused
	raw    string
}

func readCSV(t testing.TB, r io.Reader, delimiter byte) []record {
	t.Helper()
	c := &csvReader{window: newWindow(r, 4096), delimiter: delimiter, quote: '"'}
	var list []record
	for {
		bad, err := c.next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		got := record{line: c.at, raw: string(c.raw)}
		if bad == nil {
			got.fields = slices.Clone(c.fields)
		}
		list = append(list, got)
	}
}

func TestCSV(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []record
	}{
		"plain":                 {"a,b\nc,d\n", []record{{1, []string{"a", "b"}, "a,b"}, {2, []string{"c", "d"}, "c,d"}}},
		"CR LF, no end":         {"a,b\r\nc,d", []record{{1, []string{"a", "b"}, "a,b"}, {2, []string{"c", "d"}, "c,d"}}},
		"blank lines":           {"\n\r\na\n\n", []record{{3, []string{"a"}, "a"}}},
		"empty fields":          {",\n\"\",\n", []record{{1, []string{"", ""}, ","}, {2, []string{"", ""}, `"",`}}},
		"quotes":                {`"a,b","c ""d"""` + "\n", []record{{1, []string{"a,b", `c "d"`}, `"a,b","c ""d"""`}}},
		"lines within quotes":   {"\"a\r\nb\",c\r\nd,e", []record{{1, []string{"a\r\nb", "c"}, "\"a\r\nb\",c"}, {3, []string{"d", "e"}, "d,e"}}},
		"quote at the very end": {`a,"b"`, []record{{1, []string{"a", "b"}, `a,"b"`}}},
		"quoted, CR at the end": {"a,\"b\"\r", []record{{1, []string{"a", "b"}, `a,"b"`}}},
		"bare quote":            {"a\"b,c\nd,e\n", []record{{1, nil, `a"b,c`}, {2, []string{"d", "e"}, "d,e"}}},
		"text behind a quote":   {"\"a\"b,c\nd,e\n", []record{{1, nil, `"a"b,c`}, {2, []string{"d", "e"}, "d,e"}}},
		"a quote never closed":  {"a,b\nc,\"d", []record{{1, []string{"a", "b"}, "a,b"}, {2, nil, `c,"d`}}},
		"bare and quoted":       {"a\"b,\"c,\",d\"\ne,f\n", []record{{1, nil, `a"b,"c,",d"`}, {2, []string{"e", "f"}, "e,f"}}},
		// Lines within quotes are never rows, whatever else is wrong with the record.
		"lines never closed":        {"a,\"b\nc,d\ne,f", []record{{1, nil, "a,\"b\nc,d\ne,f"}}},
		"closed in another row":     {"a,\"b\nc,d\ne,\"f\"\ng,h\n", []record{{1, nil, "a,\"b\nc,d\ne,\"f\""}, {4, []string{"g", "h"}, "g,h"}}},
		"lines behind a bare quote": {"a\"b,\"c\nd,e\nf\"\ng,h\n", []record{{1, nil, "a\"b,\"c\nd,e\nf\""}, {4, []string{"g", "h"}, "g,h"}}},
		"lines behind text":         {"\"a\"b,\"c\r\nd,e\"\r\ng,h\r\n", []record{{1, nil, "\"a\"b,\"c\r\nd,e\""}, {3, []string{"g", "h"}, "g,h"}}},
		"text behind quoted lines":  {"\"a\nb\"c,d\ne,f\n", []record{{1, nil, "\"a\nb\"c,d"}, {3, []string{"e", "f"}, "e,f"}}},
		"a bare quote behind them":  {"\"a\nb\",c\"d\ne,f\n", []record{{1, nil, "\"a\nb\",c\"d"}, {3, []string{"e", "f"}, "e,f"}}},
		"NUL and broken UTF-8":      {"a\x00,\xff\n", []record{{1, []string{"a\x00", "\xff"}, "a\x00,\xff"}}},
		"nothing":                   {"", nil},
		"nothing but line feeds":    {"\n\n", nil},
	} {
		for reader, r := range map[string]io.Reader{
			"whole": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text)),
			"with its end": iotest.DataErrReader(strings.NewReader(test.text)),
		} {
			if got := readCSV(t, r, ','); fmt.Sprint(got) != fmt.Sprint(test.want) || len(got) != len(test.want) {
				t.Errorf("%s, read %s: got %+v, want %+v", name, reader, got, test.want)
			}
		}
	}
}

// A row that is longer than a row may be is passed over where its end is certain. Where it has quotes it may be the
// rest of the file that a stray one has made a field: reading ends there.
func TestCSVRowTooLong(t *testing.T) {
	long := strings.Repeat("evil,row\n", MaxRowBytes/5)
	flat := strings.ReplaceAll(long, "\n", " ")
	for name, test := range map[string]struct {
		text string
		line int64 // that the error names; 0: the row is refused, and the next one is on line 2
	}{
		"without quotes":            {flat + "\nb,c\n", 0},
		"a bare quote at the start": {"x\"" + flat + "\nb,c\n", 0},
		"a field with quotes":       {"\"x\"\"\"," + flat + "\nb,c\n", 0},
		"lines within quotes":       {"a,\"" + long + "\"\nb,c\n", 1},
		"a stray quote, far down":   {"a,\"x\ny\",\"" + long, 2},
		"one line within quotes":    {"\"" + flat + "\"\nb,c\n", 1},
		"behind a bare quote":       {"x\"," + "\"" + long + "\"\nb,c\n", 1},
		"a quote behind the window": {flat + ",\"x\ny\"\nb,c\n", 1},
		"a quote at its end":        {"\"" + strings.Repeat("x", MaxRowBytes) + "\"" + "\"\nb,c\"\nd,e\n", 1},
	} {
		c := &csvReader{window: newWindow(strings.NewReader(test.text), MaxRowBytes), delimiter: ',', quote: '"'}
		bad, err := c.next()
		if test.line > 0 {
			if want := fmt.Sprintf("line %d: ", test.line); err == nil || bad != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, %v, want an error that names %s", name, bad, err, want)
			}
			continue
		}
		if err != nil || bad == nil || bad.Reason != messages.ReasonTooLarge || c.at != 1 || len(c.raw) > MaxRowBytes+2 {
			t.Errorf("%s: first row: %v, %v, line %d, %d bytes kept", name, bad, err, c.at, len(c.raw))
		}
		if bad, err := c.next(); bad != nil || err != nil || c.at != 2 || !slices.Equal(c.fields, []string{"b", "c"}) {
			t.Errorf("%s: second row: %v, %v, line %d, %q", name, bad, err, c.at, c.fields[:min(3, len(c.fields))])
		}
		if _, err := c.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v after the last row", name, err)
		}
	}
}

// What can't be read to its end must not be taken for a row: half an amount is an amount as well.
func TestHalfARowIsNoRow(t *testing.T) {
	broken := errors.New("broken")
	for _, text := range []string{"a,15", "a,\"15\"", "a,\"15", "a,\"15\"\r", "a,\"15\n", "a,\"15\nb\"", "a,1\"5"} {
		r := io.MultiReader(strings.NewReader("b,1\n"+text), iotest.ErrReader(broken))
		c := &csvReader{window: newWindow(r, 4096), delimiter: ',', quote: '"'}
		if bad, err := c.next(); bad != nil || err != nil {
			t.Errorf("%q: first row: %v, %v", text, bad, err)
		}
		if bad, err := c.next(); !errors.Is(err, broken) {
			t.Errorf("%q: got %q, %v, %v", text, c.fields, bad, err)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("a,b\n\"c\r\nd\",e\n")
	f.Add("a;\"b\"\"c\"\r\n\r\nd;\r")
	f.Fuzz(compareCSV)
}

// compareCSV holds the reader against encoding/csv: where that one reads the whole text, the records are the same.
// Where it doesn't, a record is refused.
func compareCSV(t *testing.T, text string) {
	if len(text) > 4096 || strings.Contains(text, "\xef\xbb\xbf") { // a byte order mark is no part of a row
		return
	}
	got := readCSV(t, strings.NewReader(text), ';')
	if again := readCSV(t, iotest.OneByteReader(strings.NewReader(text)), ';'); fmt.Sprint(got) != fmt.Sprint(again) {
		t.Fatalf("%q read byte by byte: %+v, whole: %+v", text, again, got)
	}
	// Every byte is a record's or a line ending: nothing is left out, refused or not.
	rest := text
	for _, r := range got {
		before, after, ok := strings.Cut(rest, r.raw)
		if !ok || strings.Trim(before, "\r\n") != "" {
			t.Fatalf("%q: %q is left out before %q", text, before, r.raw)
		}
		rest = after
	}
	if strings.Trim(rest, "\r\n") != "" {
		t.Fatalf("%q: %q is left out at the end", text, rest)
	}
	reference := csv.NewReader(strings.NewReader(text))
	reference.Comma, reference.FieldsPerRecord = ';', -1
	want, err := reference.ReadAll()
	if err != nil {
		if !slices.ContainsFunc(got, func(r record) bool { return r.fields == nil }) {
			t.Fatalf("%q: encoding/csv refuses it (%v), we read %+v", text, err, got)
		}
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%q: %d records, encoding/csv reads %d", text, len(got), len(want))
	}
	for i := range want {
		for j := range got[i].fields { // encoding/csv takes CR LF within quotes for LF
			got[i].fields[j] = strings.ReplaceAll(got[i].fields[j], "\r\n", "\n")
		}
		if !slices.Equal(got[i].fields, want[i]) {
			t.Fatalf("%q: record %d is %q, encoding/csv reads %q", text, i, got[i].fields, want[i])
		}
	}
}

func TestCSVReadsAsEncodingCSV(t *testing.T) {
	const alphabet = "ab;;;\"\"\"\n\n\r "
	rng := rand.New(rand.NewPCG(11, 12))
	var b bytes.Buffer
	for range 20_000 {
		b.Reset()
		for range rng.IntN(24) {
			b.WriteByte(alphabet[rng.IntN(len(alphabet))])
		}
		compareCSV(t, b.String())
	}
}

func BenchmarkCSV(b *testing.B) {
	const row = `36901,O,173665.47,1996-01-02,5-LOW,Clerk000000951,0,"nstructions, sleep furiously among "` + "\n"
	text := []byte(strings.Repeat(row, 1000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		c := &csvReader{window: newWindow(bytes.NewReader(text), MaxRowBytes), delimiter: ',', quote: '"'}
		for {
			if _, err := c.next(); errors.Is(err, io.EOF) {
				break
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}
