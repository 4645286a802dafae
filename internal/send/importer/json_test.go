package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// readValues reads a text's rows, and whether it was read to its end.
func readValues(t testing.TB, r io.Reader, m *Mapping) (rows []string, whole, ended bool) {
	t.Helper()
	v := &valueReader{window: newWindow(r, 4096), objects: m.forObjects(nil)}
	if problem := v.look(); problem != "" {
		return nil, v.whole, false
	}
	for {
		before := v.offset
		_, _, err := v.read(nil, 0)
		if errors.Is(err, io.EOF) {
			return rows, v.whole, true
		}
		if err != nil {
			return rows, v.whole, false
		}
		if v.offset == before {
			t.Fatalf("no progress at byte %d", before)
		}
		raw, line := v.last()
		rows = append(rows, fmt.Sprint(line, " ", string(raw)))
	}
}

// compareJSON holds the reader against encoding/json: a text is read the same however it comes, and one that is an array
// is read as its elements.
func compareJSON(t *testing.T, text string) {
	if len(text) > 2048 {
		return
	}
	rows, whole, ended := readValues(t, strings.NewReader(text), &deleteUser)
	again, _, endedAgain := readValues(t, iotest.OneByteReader(strings.NewReader(text)), &deleteUser)
	if fmt.Sprint(rows) != fmt.Sprint(again) || ended != endedAgain {
		t.Fatalf("%q read byte by byte: %q, whole: %q", text, again, rows)
	}
	if !whole && !ended {
		if !isExport(strings.TrimSpace(text)) {
			t.Fatalf("%q: by lines, but not to its end", text)
		}
		return
	}
	var elements []json.RawMessage
	if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "[") || json.Unmarshal([]byte(text), &elements) != nil {
		return
	}
	if !ended || len(rows) != len(elements) {
		t.Fatalf("%q: read %q, want %q", text, rows, elements)
	}
	for i := range rows {
		if _, row, _ := strings.Cut(rows[i], " "); row != string(elements[i]) {
			t.Fatalf("%q: element %d is %q, want %q", text, i, row, elements[i])
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("[\n{\"a\": \"}\\\"\"}, 1,\nnull]")
	f.Add("{\"a\":1}{\"b\":[2]} {\n")
	f.Fuzz(compareJSON)
}

func TestJSONReadsAsEncodingJSON(t *testing.T) {
	pieces := []string{"[", "[", "]", "{", "}", ",", ",", `"a"`, `"`, `\`, `:1`, `{"a":1}`, `{"a":"]}"}`, `{"a":"\""}`, "1", "null", "\n", " ", "\r\n", "\xef\xbb\xbf"}
	rng := rand.New(rand.NewPCG(13, 14))
	var b bytes.Buffer
	for i := range 20_000 {
		b.Reset()
		if i%2 == 0 { // arrays that are sound, for the most part
			b.WriteString("[")
			for range rng.IntN(5) {
				b.WriteString([]string{"\n", " ", ""}[rng.IntN(3)] + pieces[11+rng.IntN(5)] + []string{",", ",\n", "\n,"}[rng.IntN(3)])
			}
			b.WriteString("{}\n]")
		} else {
			for range rng.IntN(14) {
				b.WriteString(pieces[rng.IntN(len(pieces))])
			}
		}
		compareJSON(t, b.String())
	}
}
